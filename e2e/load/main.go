// Command load measures a discovery server: how many updates it takes a second,
// how soon watchers hear of one, how long a list takes, what it keeps in memory,
// and how long it takes to start with much on disk. It starts the servers itself,
// on loopback, and prints a table.
//
//	load -binary bin/spanctl -etcd .tools/bin/etcd
//
// Server and load share the machine, so that figures tell of both.
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

// The size of the load. Affiliates are like those of machines: 256 sealed bytes
// and two endpoints.
const (
	callers    = 64
	updates    = 40_000
	fanoutRate = 50
	fanoutTime = 5 * time.Second
	listed     = 1000
	filled     = 100_000
	clusters   = 1000
)

var watcherCounts = []int{1, 10, 100, 1000}

func main() { os.Exit(run()) }

func run() int {
	binary := flag.String("binary", "bin/spanctl", "the server to measure")
	etcd := flag.String("etcd", "", "an etcd to measure the etcd store with; empty leaves it out")
	quick := flag.Bool("quick", false, "measure a tenth, to see that all works")
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Minute)
	defer cancel()
	m := &measurement{binary: *binary, etcd: *etcd, scale: 1}
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
	binary, etcd string
	// scale divides the load.
	scale int
	dir   string
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
	if m.etcd != "" {
		url, stop, err := m.startEtcd(ctx)
		if err != nil {
			return err
		}
		defer stop()
		stores = append(stores, "etcd:"+url)
	}
	for _, store := range stores {
		for _, p := range protocols {
			if err := m.speed(ctx, store, p); err != nil {
				return fmt.Errorf("%s, %s: %w", store, p.name, err)
			}
		}
	}
	return m.memory(ctx)
}

// speed prints a row of the table.
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

// memory prints what a server keeps in memory, and how long it takes to start
// with as much on disk.
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
			began := time.Now()
			s, err := m.start(ctx, store)
			if err != nil {
				return err
			}
			fmt.Printf("- bolt: %.2f s to start with these on disk\n", time.Since(began).Seconds())
			s.stop()
		}
	}
	return nil
}

// server is a process that serves on loopback.
type server struct {
	address string
	cmd     *exec.Cmd
}

// waitForLine is a writer that waits for a text.
type waitForLine struct {
	mu    sync.Mutex
	said  bytes.Buffer
	text  string
	found chan struct{}
}

func (w *waitForLine) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	before := strings.Contains(w.said.String(), w.text)
	w.said.Write(b)
	if !before && strings.Contains(w.said.String(), w.text) {
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

// launch starts a program that dies with this one, and waits until it says text.
func launch(ctx context.Context, text, program string, args ...string) (*exec.Cmd, error) {
	// The thread that starts it is kept: the kernel sends the signal at its end.
	runtime.LockOSThread()
	cmd := exec.CommandContext(ctx, program, args...)
	said := &waitForLine{text: text, found: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = said, said
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case <-said.found:
		return cmd, nil
	case err := <-ended:
		return nil, fmt.Errorf("%s: %w: %s", program, err, said.said.String())
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

// stop ends the server and waits until its address is free.
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

// resident is the server's memory in bytes.
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

// dialer makes a client with connections of its own.
type dialer func(ctx context.Context) (client, error)

// flood sends n updates and tells how many were taken a second.
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
	began := time.Now()
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
	return float64(n) / time.Since(began).Seconds(), err
}

// arrivals are how long after they were sent updates were heard of, by all
// watchers together.
type arrivals struct {
	mu     sync.Mutex
	after  []time.Duration
	wanted int
	// ready has a token for each watcher that has begun; done is closed when all
	// updates were heard of.
	ready chan struct{}
	done  chan struct{}
}

// listener is what a watcher calls with each message.
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

// perConnection is how many watchers share a connection.
const perConnection = 125

// fanout has watchers of one cluster, and tells how long after it was sent each
// of them had each update, in order of size. The time is in the update itself.
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
	_ = group.Wait() // they end with the context's error
	slices.Sort(a.after)
	return a.after, nil
}

// send sends updates at the rate of a fanout.
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

// listing is the shortest of 20 lists of a cluster.
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
		began := time.Now()
		if err := c.list(ctx, "list"); err != nil {
			return 0, err
		}
		best = min(best, time.Since(began))
	}
	return best, nil
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func percentile(sorted []time.Duration, p float64) float64 {
	return milliseconds(sorted[min(len(sorted)-1, int(float64(len(sorted))*p))])
}
