package server

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	dto "github.com/prometheus/client_model/go"

	"github.com/spanmesh/span/discoveryhttp"
	"github.com/spanmesh/span/discoveryhttp/server/door"
	"github.com/spanmesh/span/discoveryhttp/store"
	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/mesh"
)

// wire is a network of pipes: synctest sees who waits there.
type wire struct {
	*door.Listener

	mu   sync.Mutex
	open []net.Conn
}

// wireConn is the server's end of a pipe, with the address of the other.
type wireConn struct {
	net.Conn
	from net.Addr
}

func (c wireConn) RemoteAddr() net.Addr { return c.from }

func newWire() *wire {
	return &wire{Listener: door.NewListener(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1})}
}

// cut ends all connections, as a router that forgets them.
func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.open {
		_ = c.Close()
	}
	w.open = nil
}

// dial connects from an address. What is written is kept for the other end: both of HTTP/2 begin with a write.
func (w *wire) dial(from netip.Addr) net.Conn {
	ours, near := net.Pipe()
	far, theirs := net.Pipe()
	go pump(far, near)
	go pump(near, far)
	w.Give(wireConn{theirs, net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 40000))})
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open = append(w.open, ours)
	return ours
}

// pump carries what comes from a connection to another one, until either ends.
func pump(to, from net.Conn) {
	queue := make(chan []byte, 64)
	go func() {
		for b := range queue {
			if _, err := to.Write(b); err != nil {
				_ = from.Close()
			}
		}
		_ = to.Close()
	}()
	buf := make([]byte, 16<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			queue <- bytes.Clone(buf[:n])
		}
		if err != nil {
			close(queue)
			return
		}
	}
}

// day is a server with its clients, of which a day passes.
type day struct {
	t       *testing.T
	store   *store.Memory
	wire    atomic.Pointer[wire]
	server  *Server
	stop    func()
	members map[string]*dayMember
}

// start serves on a new wire.
func (d *day) start() {
	w := newWire()
	d.wire.Store(w)
	ctx, cancel := context.WithCancel(context.WithoutCancel(d.t.Context()))
	o := Options{Store: d.store, Limits: DefaultLimits(), Log: slog.New(slog.DiscardHandler)}
	d.server = New(ctx, o)
	s := d.server
	done := make(chan error, 1)
	go func() { done <- s.run(ctx, door.New(o.Limits.Connections, nil, o.Log), []net.Listener{w}) }()
	d.stop = func() {
		cancel()
		if err := <-done; err != nil {
			d.t.Errorf("the server ended with %v", err)
		}
	}
}

// restart stops the server for a while. Kept is set if what it knows is on disk.
func (d *day) restart(kept bool) {
	d.stop()
	time.Sleep(20 * time.Second)
	if !kept {
		d.store = store.NewMemory(DefaultLimits().Store)
	}
	d.start()
}

// dayMember is a client of the server.
type dayMember struct {
	*discoveryhttp.Client
	id   string
	log  lastLines
	stop func()
}

// lastLines keeps the end of a log, and counts its lines.
type lastLines struct {
	mu   sync.Mutex
	n    int
	text []byte
}

func (l *lastLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.n += bytes.Count(p, []byte("\n"))
	l.text = append(l.text, p...)
	l.text = l.text[max(0, len(l.text)-1000):]
	return len(p), nil
}

// lines returns how many lines were written, and the last of them.
func (l *lastLines) lines() (n int, last string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.n, string(l.text)
}

// join starts a member.
func (d *day) join(id string, protocol discoveryhttp.Protocol) *dayMember {
	m := &dayMember{id: id}
	from := netip.AddrFrom4([4]byte{192, 0, 2, id[0]})
	var err error
	m.Client, err = discoveryhttp.NewClient(discoveryhttp.Options{
		Endpoints: []string{"http://127.0.0.1:1"}, Protocol: protocol, ClusterID: "cluster", Secret: [32]byte{1}, NodeID: id,
		Dial: func(context.Context, string, string) (net.Conn, error) { return d.wire.Load().dial(from), nil },
		Log:  slog.New(slog.NewTextHandler(&m.log, nil)),
	})
	if err != nil {
		d.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(d.t.Context()))
	done := make(chan struct{})
	go func() {
		defer close(done)
		m.Run(ctx)
	}()
	m.stop = func() {
		cancel()
		<-done
		delete(d.members, id)
	}
	d.members[id] = m
	m.roam(1)
	return m
}

// roam has the member publish another endpoint.
func (m *dayMember) roam(n int) {
	e := netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, m.id[0]}), uint16(1024+n%60000)) //nolint:gosec // below 65536
	m.Publish(reconciler.Publication{Local: mesh.Affiliate{NodeID: m.id, Hostname: m.id,
		KubeSpan: mesh.KubeSpan{PublicKey: mesh.Key{m.id[0]}, Address: netip.MustParseAddr("fd00::1"), Endpoints: []netip.AddrPort{e}}}})
}

// strangers are callers who come once: for the page, and with a call that is refused.
func (d *day) strangers(hour int) {
	for n := range 30 {
		conn := d.wire.Load().dial(netip.AddrFrom4([4]byte{203, 0, byte(hour), byte(n)}))
		path := []string{"/", "/sidero.discovery.server.Cluster/List"}[n%2]
		go func() {
			_, _ = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}", path)
		}()
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			d.t.Fatalf("%s: %v", path, err)
		}
		_, _ = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
		_ = conn.Close()
	}
}

// hour passes an hour with changes, which begins and ends as every other one.
func (d *day) hour(n int) {
	at := func(minute int) {
		time.Sleep(time.Until(dayStart.Add(time.Duration(n)*time.Hour + time.Duration(minute)*time.Minute)))
		synctest.Wait()
	}
	guest := d.join(fmt.Sprintf("guest-%d", n), discoveryhttp.Auto)
	at(3)
	d.strangers(n)
	for minute := 4; minute <= 20; minute += 4 {
		at(minute)
		d.members["a"].roam(n*60 + minute)
	}
	at(22)
	guest.stop() // without a word: it has to expire
	at(24)
	d.wire.Load().cut()
	at(26)
	if n%3 == 2 {
		d.restart(n%2 == 0)
	}
	leaver := d.join("leaver", discoveryhttp.GRPC)
	at(28)
	leaver.stop()
	if err := leaver.Leave(d.t.Context()); err != nil {
		d.t.Error(err)
	}
	d.members["b"].NetworkChanged()
	at(50)
}

// dayStart is when the clock of a synctest bubble starts.
var dayStart = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// census is what is kept after an hour. It is compared as a whole.
type census struct {
	Goroutines, Connections                   int
	Clusters, Affiliates, Endpoints, Watchers int
	// Bytes are those of the store, Backlog those of changes, Sent those of messages.
	Bytes, Backlog, Sent    int64
	Readers, Caches, Copies int
	// The others are what is under way.
	Calls, Visits, Waiting, Watches, AccountReaders int
}

// leastCensus returns the census with the fewest goroutines of four in ten minutes: a call may be open at one
// of them.
func (d *day) leastCensus() census {
	least := d.census()
	for range 3 {
		time.Sleep(3 * time.Minute)
		if is := d.census(); is.Goroutines < least.Goroutines {
			least = is
		}
	}
	return least
}

// census counts what is kept now.
func (d *day) census() census {
	runtime.GC()
	synctest.Wait()
	s, stats := d.server, d.store.Stats()
	c := census{Goroutines: runtime.NumGoroutine(), Clusters: stats.Clusters, Affiliates: stats.Affiliates, Endpoints: stats.Endpoints,
		Watchers: stats.Watchers, Bytes: stats.Bytes, Backlog: stats.Backlog, Sent: s.account.inUse(), Calls: s.calls.count(),
		Visits: s.visits.count() + s.probes.count(), Waiting: s.admission.waiting.count(), Watches: s.admission.watches.count(),
		Connections: s.connections().Open}
	s.clusters.mu.Lock()
	for _, of := range s.clusters.byID {
		c.Readers += of.readers
		of.partsMu.Lock()
		of.baseMu.Lock()
		c.Caches += len(of.parts) + len(of.recent) + len(of.bases) + len(of.small)
		of.baseMu.Unlock()
		of.partsMu.Unlock()
	}
	s.clusters.mu.Unlock()
	s.copies.mu.Lock()
	c.Copies = len(s.copies.callers)
	s.copies.mu.Unlock()
	s.account.mu.Lock()
	c.AccountReaders = len(s.account.readers) + len(s.account.waiting)
	s.account.mu.Unlock()
	return c
}

// sameAs reports whether as much is kept as at another time. A member that has changed the protocol may have a
// connection and some goroutines more.
func (c census) sameAs(other census) bool {
	if c.Goroutines > other.Goroutines+4 || c.Connections > other.Connections+1 {
		return false
	}
	c.Goroutines, c.Connections = other.Goroutines, other.Connections
	return c == other
}

// knownTo returns the node IDs that a member knows, and those that it caches.
func (m *dayMember) knownTo() (known, cached []string, err error) {
	for _, a := range m.Snapshot().Affiliates {
		known = append(known, a.NodeID)
	}
	var content struct {
		Affiliates []struct {
			Affiliate mesh.Affiliate `json:"affiliate"`
		} `json:"affiliates"`
	}
	data, err := m.Cache()
	if err != nil {
		return nil, nil, err
	}
	err = json.Unmarshal(data, &content)
	for _, a := range content.Affiliates {
		cached = append(cached, a.Affiliate.NodeID)
	}
	return known, cached, err
}

// callsOf returns how many calls of a method the server has served, and with another result than success.
func (d *day) callsOf(method string) (served, failed int) {
	each(d.server.metrics.calls, func(labels map[string]string, values *dto.Metric) {
		switch n := int(values.GetCounter().GetValue()); {
		case labels["method"] != method:
		case labels["code"] == codeOf(nil) || labels["code"] == "canceled":
			served += n
		default:
			failed += n
		}
	})
	return served, failed
}

// TestADayOfDiscovery has three machines at a server for a day: eighteen hours with changes, and six
// without. What is kept is what was after the first hour, and calls come as often as they should.
func TestADayOfDiscovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &day{t: t, store: store.NewMemory(DefaultLimits().Store), members: map[string]*dayMember{}}
		d.start()
		for id, protocol := range map[string]discoveryhttp.Protocol{"a": discoveryhttp.GRPC, "b": discoveryhttp.Auto, "c": discoveryhttp.Connect} {
			d.join(id, protocol)
		}
		const busy, quiet = 18, 6
		var first census
		for hour := range busy {
			d.hour(hour)
			switch is := d.leastCensus(); {
			case hour == 0:
				first = is
				t.Logf("after an hour: %+v", is)
			case !is.sameAs(first):
				t.Errorf("after %d hours: %+v", hour+1, is)
			}
			d.checkMembers(hour)
			time.Sleep(time.Until(dayStart.Add(time.Duration(hour+1) * time.Hour)))
		}
		lines, _ := d.lines()
		served := map[string]int{}
		for _, method := range []string{"Hello", "AffiliateUpdate", "Watch", "List", "AffiliateDelete"} {
			served[method], _ = d.callsOf(method)
		}
		for range quiet * 4 {
			time.Sleep(15 * time.Minute)
			synctest.Wait()
			d.checkMembers(busy)
		}
		if is := d.leastCensus(); !is.sameAs(first) {
			t.Errorf("after a day: %+v", is)
		}
		// Each of three machines watches anew after 15 to 16.5 minutes without news, and publishes itself then and
		// 15 minutes after it did last.
		for method, want := range map[string][2]int{"Hello": {3 * 21, 3 * 24}, "Watch": {3 * 21, 3 * 24}, "AffiliateUpdate": {3 * 21, 3 * 50},
			"List": {0, 0}, "AffiliateDelete": {0, 0}} {
			now, failed := d.callsOf(method)
			if n := now - served[method]; n < want[0] || n > want[1] || failed > 15 {
				t.Errorf("%d calls of %s in %d quiet hours, want %v; %d failed", n, method, quiet, want, failed)
			} else {
				t.Logf("%d calls of %s in %d quiet hours; %d failed", n, method, quiet, failed)
			}
		}
		if now, last := d.lines(); now != lines {
			t.Errorf("%d lines were logged in quiet hours; the last are\n%s", now-lines, last)
		}
		for _, m := range d.members {
			m.stop()
		}
		d.stop()
	})
}

// lines returns how many lines the members have logged, and the last of each.
func (d *day) lines() (n int, last string) {
	for id, m := range d.members {
		lines, text := m.log.lines()
		n += lines
		last += id + ": " + text + "\n"
	}
	return n, last
}

// checkMembers checks that all who are there know each other, and nobody else: but the guest of the hour, of which
// a member may not know yet that its time is over, if it has watched anew just then.
func (d *day) checkMembers(hour int) {
	d.t.Helper()
	all, guest := []string{"a", "b", "c"}, fmt.Sprintf("guest-%d", hour)
	for _, id := range all {
		want := slices.DeleteFunc(slices.Clone(all), func(other string) bool { return other == id })
		m := d.members[id]
		known, cached, err := m.knownTo()
		if err != nil || !slices.Equal(known, cached) {
			d.t.Errorf("in hour %d, %s knows %q, and caches %q, %v", hour, id, known, cached, err)
		}
		if known = slices.DeleteFunc(known, func(other string) bool { return other == guest }); !slices.Equal(known, want) {
			d.t.Errorf("in hour %d, %s knows %q, want %q", hour, id, known, want)
		}
		if session := m.Sessions()[0]; session.State != "connected" || time.Since(session.Heard) > 17*time.Minute {
			d.t.Errorf("in hour %d, %s is %s, and heard %v ago: %s", hour, id, session.State, time.Since(session.Heard), session.Failure.Text)
		}
	}
}
