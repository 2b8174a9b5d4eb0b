// Command load measures a discovery server: updates per second, the delay of an
// update until watchers receive it, the duration of a list, memory, and the time to
// start with many affiliates on disk. It starts the servers on loopback, and prints
// a table.
//
//	load -binary bin/spanctl -etcd .tools/bin/etcd
//
// Server and load share the machine, so the figures are of both.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

// The size of the load. Affiliates have the size of real ones: 256 encrypted bytes
// and two endpoints.
const (
	// callers is the number of concurrent calls.
	callers = 64
	// updates is the number of updates that are timed.
	updates = 40_000
	// fanoutRate is the number of updates per second that watchers receive.
	fanoutRate = 50
	// fanoutTime is how long they receive them.
	fanoutTime = 5 * time.Second
	// listed is the number of affiliates of the cluster that is listed.
	listed = 1000
	// filled is the number of affiliates that memory is measured with.
	filled = 100_000
	// clusters is the number of clusters that updates and affiliates belong to.
	clusters = 1000
)

// watcherCounts are the numbers of watchers that a fanout is measured with.
var watcherCounts = []int{1, 10, 100, 1000}

// storeKinds are the stores that can be measured.
var storeKinds = []string{"memory", "bolt", "etcd"}

func main() { os.Exit(run()) }

func run() int {
	binary := flag.String("binary", "bin/spanctl", "spanctl program to measure")
	etcd := flag.String("etcd", "", "etcd program to measure the etcd store with; without it, the etcd store is left out")
	quick := flag.Bool("quick", false, "measure a tenth of the load, to test this program")
	only := flag.String("store", "", "measure updates and watches of one store alone: memory, bolt or etcd")
	flag.Parse()
	if *only != "" && !slices.Contains(storeKinds, *only) {
		fmt.Fprintf(os.Stderr, "load: -store is %q: want %s\n", *only, strings.Join(storeKinds, ", "))
		return 2
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Minute)
	defer cancel()
	m := &measurement{binary: *binary, etcd: *etcd, only: *only, scale: 1}
	if *quick {
		m.scale = 10
	}
	if err := m.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		return 1
	}
	return 0
}

// measurement is one run of all measurements.
type measurement struct {
	// binary and etcd are paths of programs.
	binary, etcd string
	// only is the kind of store to measure; empty for all.
	only string
	// scale divides the load.
	scale int
	// dir is a temporary directory.
	dir string
}

func (m *measurement) run(ctx context.Context) (err error) {
	if m.dir, err = os.MkdirTemp("", "load"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(m.dir)) }()
	fmt.Printf("%d cores, %s; server and load on one machine; %d callers\n\n", runtime.NumCPU(), runtime.Version(), callers)
	fmt.Println("| store, protocol | updates/s | p50/p99 ms to 1 watcher | to 10 | to 100 | to 1000 | list of 1000, ms |")
	fmt.Println("| --- | --- | --- | --- | --- | --- | --- |")
	stores := []string{"memory", "bolt:" + filepath.Join(m.dir, "speed.db")}
	if m.etcd != "" && (m.only == "" || m.only == "etcd") {
		url, stop, err := m.startEtcd(ctx)
		if err != nil {
			return err
		}
		defer stop()
		stores = append(stores, "etcd:"+url)
	}
	for _, store := range stores {
		if kind, _, _ := strings.Cut(store, ":"); m.only != "" && kind != m.only {
			continue
		}
		for _, p := range protocols {
			if err := m.speed(ctx, store, p); err != nil {
				return fmt.Errorf("%s, %s: %w", store, p.name, err)
			}
		}
	}
	if m.only != "" {
		return nil
	}
	return m.memory(ctx)
}

// speed measures a store in a protocol and prints a row of the table.
func (m *measurement) speed(ctx context.Context, store string, p protocol) error {
	s, err := m.start(ctx, store)
	if err != nil {
		return err
	}
	defer s.stop()
	dial := func(ctx context.Context) (client, error) { return p.dial(ctx, s.address) }
	perSecond, err := flood(ctx, dial, updates/m.scale, func(i int) (cluster, id string) {
		return fmt.Sprintf("update-%d", i%clusters), strconv.Itoa(i / clusters % 50)
	})
	if err != nil {
		return err
	}
	kind, _, _ := strings.Cut(store, ":")
	row := []string{kind + ", " + p.name, strconv.Itoa(int(perSecond))}
	for _, n := range watcherCounts {
		latencies, err := fanout(ctx, dial, n, fanoutTime/time.Duration(m.scale))
		if err != nil {
			return fmt.Errorf("%d watchers: %w", n, err)
		}
		row = append(row, fmt.Sprintf("%.1f/%.1f", percentile(latencies, 0.50), percentile(latencies, 0.99)))
	}
	list, err := listing(ctx, dial)
	if err != nil {
		return err
	}
	row = append(row, fmt.Sprintf("%.2f", milliseconds(list)))
	fmt.Println("| " + strings.Join(row, " | ") + " |")
	return nil
}

// memory prints the memory of a server with many affiliates, and how long it takes to
// start with as many on disk.
func (m *measurement) memory(ctx context.Context) error {
	fmt.Println()
	for _, store := range []string{"memory", "bolt:" + filepath.Join(m.dir, "fill.db")} {
		s, err := m.start(ctx, store)
		if err != nil {
			return err
		}
		before, err := s.resident()
		if err != nil {
			return err
		}
		dial := func(ctx context.Context) (client, error) { return protocols[0].dial(ctx, s.address) }
		_, err = flood(ctx, dial, filled/m.scale, func(i int) (cluster, id string) {
			return fmt.Sprintf("fill-%d", i%clusters), strconv.Itoa(i / clusters)
		})
		if err != nil {
			return err
		}
		after, err := s.resident()
		if err != nil {
			return err
		}
		s.stop()
		kind, _, _ := strings.Cut(store, ":")
		fmt.Printf("- %s: %.0f MiB resident at the start, %d bytes per affiliate with %d in %d clusters\n",
			kind, float64(before)/(1<<20), (after-before)/(filled/m.scale), filled/m.scale, clusters)
		if kind == "bolt" {
			started := time.Now()
			s, err := m.start(ctx, store)
			if err != nil {
				return err
			}
			fmt.Printf("- bolt: %.2f s to start with these on disk\n", time.Since(started).Seconds())
			s.stop()
		}
	}
	return nil
}

// server is a discovery server on loopback.
type server struct {
	address string
	cmd     *exec.Cmd
}

// textFinder keeps what is written to it, and closes found when that contains text.
type textFinder struct {
	mu     sync.Mutex
	output bytes.Buffer
	text   string
	found  chan struct{}
}

func (w *textFinder) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	before := strings.Contains(w.output.String(), w.text)
	w.output.Write(b)
	if !before && strings.Contains(w.output.String(), w.text) {
		close(w.found)
	}
	return len(b), nil
}

func freeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}

// launch starts a program, and waits until it has written text. The kernel kills it
// when this program ends.
func launch(ctx context.Context, text, program string, args ...string) (*exec.Cmd, error) {
	// The signal is sent when the thread that started the program ends.
	runtime.LockOSThread()
	cmd := exec.CommandContext(ctx, program, args...)
	output := &textFinder{text: text, found: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = output, output
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case <-output.found:
		return cmd, nil
	case err := <-ended:
		return nil, fmt.Errorf("%s: %w: %s", program, err, output.output.String())
	}
}

func (m *measurement) start(ctx context.Context, store string) (*server, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	cmd, err := launch(ctx, "serving discovery", m.binary, "discovery", "serve", "--listen", address, "--store", store,
		"--rate-per-address", "0", "--rate-per-cluster", "0")
	return &server{address, cmd}, err
}

// stop ends the server, and waits until its address is free.
func (s *server) stop() {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	for {
		conn, err := net.Dial("tcp", s.address)
		if err != nil {
			return
		}
		_ = conn.Close()
	}
}

// resident returns the resident memory of the server, in bytes.
func (s *server) resident() (int, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", s.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	pages, err := strconv.Atoi(strings.Fields(string(text))[1])
	return pages * os.Getpagesize(), err
}

func (m *measurement) startEtcd(ctx context.Context) (url string, stop func(), err error) {
	client, err := freeAddress()
	if err != nil {
		return "", nil, err
	}
	peer, err := freeAddress()
	if err != nil {
		return "", nil, err
	}
	url, peer = "http://"+client, "http://"+peer
	cmd, err := launch(ctx, "ready to serve client requests", m.etcd, "--data-dir", filepath.Join(m.dir, "etcd"), "--listen-client-urls", url,
		"--advertise-client-urls", url, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "default="+peer,
		"--quota-backend-bytes", "4294967296")
	if err != nil {
		return "", nil, err
	}
	return url, func() { _ = cmd.Process.Kill() }, nil
}

// dialer returns a client with connections of its own.
type dialer func(ctx context.Context) (client, error)

// flood sends n updates and returns how many were acknowledged per second.
func flood(ctx context.Context, dial dialer, n int, name func(i int) (cluster, id string)) (perSecond float64, err error) {
	const connections = 8
	clients := make([]client, connections)
	for i := range clients {
		if clients[i], err = dial(ctx); err != nil {
			return 0, err
		}
		defer clients[i].close()
	}
	data := make([]byte, 256)
	endpoints := [][]byte{make([]byte, 32), append([]byte{1}, make([]byte, 31)...)}
	var next atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	started := time.Now()
	for k := range callers {
		group.Go(func() error {
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return nil
				}
				cluster, id := name(i)
				if err := clients[k%connections].update(ctx, cluster, id, data, endpoints); err != nil {
					return err
				}
			}
		})
	}
	err = group.Wait()
	return float64(n) / time.Since(started).Seconds(), err
}

// arrivals collects the delays after which watchers received updates.
type arrivals struct {
	mu    sync.Mutex
	after []time.Duration
	// wanted is the number of delays, of all watchers together.
	wanted int
	// ready receives once for each watcher that has its first message.
	ready chan struct{}
	// done is closed when all updates have arrived.
	done chan struct{}
}

// listener returns the function that a watcher calls with each message.
func (a *arrivals) listener() func(data [][]byte) {
	first := true
	return func(data [][]byte) {
		if first {
			first = false
			a.ready <- struct{}{}
			return
		}
		now := time.Now()
		a.mu.Lock()
		defer a.mu.Unlock()
		for _, d := range data {
			a.after = append(a.after, now.Sub(sentAt(d)))
		}
		if len(a.after) == a.wanted {
			close(a.done)
		}
	}
}

// perConnection is the number of watchers that share a connection.
const perConnection = 125

// fanout sends updates to watchers of one cluster. It returns the delay of each update
// at each watcher, sorted. The update's data has the time at which it was sent.
func fanout(ctx context.Context, dial dialer, watchers int, lasting time.Duration) ([]time.Duration, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cluster := fmt.Sprintf("fanout-%d-%d", watchers, time.Now().UnixNano())
	total := int(lasting.Seconds() * fanoutRate)
	a := &arrivals{wanted: total * watchers, ready: make(chan struct{}, watchers), done: make(chan struct{})}
	var group errgroup.Group
	var c client
	for k := range watchers {
		if k%perConnection == 0 {
			var err error
			if c, err = dial(ctx); err != nil {
				return nil, err
			}
			defer c.close()
		}
		watching := c
		group.Go(func() error { return watching.watch(ctx, cluster, a.listener()) })
	}
	for range watchers {
		<-a.ready
	}
	if err := send(ctx, dial, cluster, total); err != nil {
		return nil, err
	}
	select {
	case <-a.done:
	case <-time.After(time.Minute):
		return nil, fmt.Errorf("%d of %d updates were delivered", len(a.after), a.wanted)
	}
	cancel()
	_ = group.Wait() // the error is the context's
	slices.Sort(a.after)
	return a.after, nil
}

// send sends updates at fanoutRate.
func send(ctx context.Context, dial dialer, cluster string, total int) error {
	sender, err := dial(ctx)
	if err != nil {
		return err
	}
	defer sender.close()
	ticker := time.NewTicker(time.Second / fanoutRate)
	defer ticker.Stop()
	for i := range total {
		<-ticker.C
		if err := sender.update(ctx, cluster, strconv.Itoa(i%50), stamped(), nil); err != nil {
			return err
		}
	}
	return nil
}

// listing returns the duration of the fastest of 20 lists of a cluster.
func listing(ctx context.Context, dial dialer) (time.Duration, error) {
	_, err := flood(ctx, dial, listed, func(i int) (cluster, id string) { return "list", strconv.Itoa(i) })
	if err != nil {
		return 0, err
	}
	c, err := dial(ctx)
	if err != nil {
		return 0, err
	}
	defer c.close()
	best := time.Hour
	for range 20 {
		started := time.Now()
		if err := c.list(ctx, "list"); err != nil {
			return 0, err
		}
		best = min(best, time.Since(started))
	}
	return best, nil
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func percentile(sorted []time.Duration, p float64) float64 {
	return milliseconds(sorted[min(len(sorted)-1, int(float64(len(sorted))*p))])
}
