package agent

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/path"
	"github.com/spanmesh/span/reconciler/resource"
	"github.com/spanmesh/span/schema"
)

// wire carries what pathfinders send to each other.
type wire struct {
	mu  sync.Mutex
	at  map[netip.AddrPort]*wireConn
	cut bool
}

// wireConn is a share of a port that the wire leads to.
type wireConn struct {
	wire   *wire
	at     netip.AddrPort
	in     chan heardProbe
	closed chan struct{}
	once   sync.Once
}

func (c *wireConn) Send(to netip.AddrPort, payload []byte, _ uint8) error {
	c.wire.mu.Lock()
	defer c.wire.mu.Unlock()
	if other := c.wire.at[to]; other != nil && !c.wire.cut {
		select {
		case other.in <- heardProbe{c.at, payload}:
		default:
		}
	}
	return nil
}

func (c *wireConn) Receive(take func(netip.AddrPort, []byte)) error {
	for {
		select {
		case p := <-c.in:
			take(p.from, p.packet)
		case <-c.closed:
			return nil
		}
	}
}

func (c *wireConn) Close() error { c.once.Do(func() { close(c.closed) }); return nil }

// finder is a pathfinder of a machine at an address, with one peer.
type finder struct {
	*pathfinder
	turn    reconciler.Turn
	reports chan reconciler.Direct
	// published is what was published last.
	published atomic.Pointer[map[string]any]
}

func newFinder(t *testing.T, w *wire, own, other byte, at, there string) *finder {
	t.Helper()
	private := func(n byte) mesh.PrivateKey { return mesh.SecretKey([mesh.KeySize]byte{n}) }
	config := &schema.Config{}
	*config.KubeSpan() = schema.KubeSpan{Enabled: true, NAT: schema.NAT{Punch: true}}
	endpoint := netip.MustParseAddrPort(at)
	f := &finder{reports: make(chan reconciler.Direct, 16)}
	f.turn = reconciler.Turn{Config: config, Mesh: reconciler.Mesh{Link: "kubespan", Port: int(endpoint.Port())}, Probing: reconciler.Probing{
		Self:  path.Self{Private: private(own), Public: private(own).Public(), NAT: mesh.NATIndependent},
		Peers: []path.Peer{{Key: private(other).Public(), Endpoints: []netip.AddrPort{netip.MustParseAddrPort(there)}, NAT: mesh.NATIndependent, Up: true, Relayed: true}},
	}}
	f.pathfinder = &pathfinder{report: func(d reconciler.Direct) { f.reports <- d }, publish: func(paths map[string]any) { f.published.Store(&paths) }, log: slog.New(slog.DiscardHandler), turns: newLastTurn(), probes: make(chan heardProbe, probeQueue),
		shared: newSharing(func(uint16, uint32) (sharedConn, error) {
			c := &wireConn{wire: w, at: endpoint, in: make(chan heardProbe, 64), closed: make(chan struct{})}
			w.mu.Lock()
			defer w.mu.Unlock()
			w.at[endpoint] = c
			return c, nil
		}, func(error) {}, slog.New(slog.DiscardHandler))}
	return f
}

// await waits until what is wanted is reported.
func (f *finder) await(t *testing.T, what string, is func(reconciler.Direct) bool) {
	t.Helper()
	for deadline := time.After(30 * time.Second); ; {
		select {
		case d := <-f.reports:
			if is(d) {
				return
			}
		case <-deadline:
			t.Fatal("never: ", what)
		}
	}
}

// TestPathfindersMeet has two find each other, and forget all once the config says so.
func TestPathfindersMeet(t *testing.T) {
	w := &wire{at: map[netip.AddrPort]*wireConn{}}
	one, two := newFinder(t, w, 1, 2, "192.0.2.1:51820", "198.51.100.2:40000"), newFinder(t, w, 2, 1, "198.51.100.2:40000", "192.0.2.1:51820")
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	for _, f := range []*finder{one, two} {
		turns := f.turns.after(nil)
		turns(f.turn)
		group.Go(func() { f.run(ctx) })
	}
	for _, f := range []*finder{one, two} {
		f.await(t, "a path", func(d reconciler.Direct) bool {
			return d.On && len(d.Paths) == 1 && d.Paths[0].Endpoint == f.turn.Probing.Peers[0].Endpoints[0] && d.Paths[0].Peer == f.turn.Probing.Peers[0].Key
		})
	}
	off := *one.turn.Config
	off.Machine.Network.KubeSpan.NAT.Punch = false
	turn := one.turn
	turn.Config = &off
	one.turns.after(nil)(turn)
	one.await(t, "nothing", func(d reconciler.Direct) bool { return !d.On && len(d.Paths) == 0 })
	cancel()
	group.Wait()
}

// TestPathfinderSaysWhyNot has a peer that does not answer.
func TestPathfinderSaysWhyNot(t *testing.T) {
	w := &wire{at: map[netip.AddrPort]*wireConn{}, cut: true}
	f := newFinder(t, w, 1, 2, "192.0.2.1:51820", "198.51.100.2:40000")
	f.pathfinder.turn = f.turn
	now := time.Now()
	for range 200 {
		next := f.step(now)
		if next.IsZero() {
			t.Fatal("no step is due")
		}
		now = next
		// Later it is probed again.
		if p := f.published.Load(); p != nil {
			if shown, is := (*p)[f.turn.Probing.Peers[0].Key.String()].(resource.Path); is && shown.Why == path.NoAnswer.Text() {
				break
			}
		}
	}
	f.await(t, "a reason", func(d reconciler.Direct) bool {
		return d.Why[f.turn.Probing.Peers[0].Key] == path.NoAnswer.Text()
	})
	shown := (*f.published.Load())[f.turn.Probing.Peers[0].Key.String()].(resource.Path)
	if shown.Why != path.NoAnswer.Text() || len(shown.Candidates) != 1 || shown.Candidates[0].Outcome != resource.CandidateSilent || shown.Candidates[0].TriedAt.IsZero() {
		t.Errorf("published is %+v", shown)
	}
	f.shared.stop()
}

// TestNudgesAreBounded has others than relays send nudges, and a relay many.
func TestNudgesAreBounded(t *testing.T) {
	w := &wire{at: map[netip.AddrPort]*wireConn{}}
	f := newFinder(t, w, 1, 2, "192.0.2.1:51820", "198.51.100.2:40000")
	relays := []netip.AddrPort{netip.MustParseAddrPort("203.0.113.1:51821"), netip.MustParseAddrPort("203.0.113.2:51821")}
	f.turn.Probing.Relays = []path.Relay{{Key: mesh.Key{1}, At: relays[0]}, {Key: mesh.Key{2}, At: relays[1]}}
	f.pathfinder.turn = f.turn
	taken := map[netip.AddrPort]int{}
	f.nudged = func(from netip.AddrPort) { taken[from]++ }
	packet := make([]byte, 32)
	copy(packet, "Spn\x01\x03")
	f.take(relays[0], packet)
	if len(taken) > 0 || len(f.probes) != 1 {
		t.Fatalf("a nudge is taken where it is received: %v, %d wait", taken, len(f.probes))
	}
	now := time.Now()
	for i := range 1000 {
		at := now.Add(time.Duration(i) * 10 * time.Millisecond)
		f.nudge(at, relays[i%2])
		f.nudge(at, netip.AddrPortFrom(netip.MustParseAddr("192.0.2.66"), uint16(i)))
	}
	if len(taken) != 2 || taken[relays[0]] != 10 || taken[relays[1]] != 10 {
		t.Errorf("in 10 s, there are %v", taken)
	}
}
