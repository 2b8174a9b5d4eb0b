package agent

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spanmesh/span/netlinkapply/sharedport"
	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/outside"
	"github.com/spanmesh/span/reconciler/peer"
	"github.com/spanmesh/span/reconciler/resource"
	"github.com/spanmesh/span/schema"
)

// fakeConn answers requests like servers beyond a NAT that gives a port another one.
type fakeConn struct {
	port   uint16
	mark   uint32
	closed chan struct{}
	once   sync.Once

	mu   sync.Mutex
	take func(netip.AddrPort, []byte)
	sent []netip.AddrPort
}

func (c *fakeConn) Send(to netip.AddrPort, _ []byte, _ uint8) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sent = append(c.sent, to)
	return nil
}

func (c *fakeConn) Receive(take func(netip.AddrPort, []byte)) error {
	c.mu.Lock()
	c.take = take
	c.mu.Unlock()
	<-c.closed
	return nil
}

func (c *fakeConn) Close() error { c.once.Do(func() { close(c.closed) }); return nil }

func (c *fakeConn) isClosed() bool {
	select {
	case <-c.closed:
		return true
	default:
		return false
	}
}

// outsideTurn is a turn of a mesh with two servers.
func outsideTurn(port int, mark uint32) reconciler.Turn {
	config := &schema.Config{}
	*config.KubeSpan() = schema.KubeSpan{Enabled: true, FirewallMark: mark, PersistentKeepalive: 25,
		NAT: schema.NAT{STUN: true, Servers: []schema.STUNServer{{Host: "198.51.100.1", Port: 3478}, {Host: "stun.example.com", Port: 3479}, {Host: "fd00::9", Port: 1}}}}
	return reconciler.Turn{Config: config, Mesh: reconciler.Mesh{Link: "kubespan", Port: port, Subnet: netip.MustParsePrefix("fd00::/64")},
		Host: mesh.Host{Own: []netip.Addr{netip.MustParseAddr("192.168.1.5"), netip.MustParseAddr("127.0.0.1")}}}
}

// TestOutsiderShares has the port shared where the mesh is, and the mark that it has.
func TestOutsiderShares(t *testing.T) {
	var opened []*fakeConn
	o := makeOutsider(&outsider{log: slog.New(slog.DiscardHandler), report: func(mesh.Outside) {},
		shared: newSharing(func(port uint16, mark uint32) (sharedConn, error) {
			opened = append(opened, &fakeConn{port: port, mark: mark, closed: make(chan struct{})})
			return opened[len(opened)-1], nil
		}, func(error) {}, slog.New(slog.DiscardHandler)),
		resolve: func(context.Context, string) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr("198.51.100.4"), netip.MustParseAddr("198.51.100.3"), netip.MustParseAddr("198.51.100.2"), netip.MustParseAddr("127.0.0.1")}, nil
		}})
	step := func(turn reconciler.Turn) { o.turn = turn; o.step(t.Context(), time.Now()) }
	step(reconciler.Turn{})
	if len(opened) != 0 {
		t.Fatal("it shares a port without a mesh")
	}
	step(outsideTurn(51820, 32))
	step(outsideTurn(51820, 32))
	if len(opened) != 1 || opened[0].port != 51820 || opened[0].mark != 32 {
		t.Fatalf("it shares %+v", opened)
	}
	want := []netip.AddrPort{netip.MustParseAddrPort("198.51.100.1:3478"), netip.MustParseAddrPort("198.51.100.2:3479"), netip.MustParseAddrPort("198.51.100.3:3479")}
	if !slices.Equal(opened[0].sent, want) {
		t.Errorf("it asks %v, want %v", opened[0].sent, want)
	}
	for i, change := range []reconciler.Turn{outsideTurn(51821, 32), outsideTurn(51821, 64)} {
		step(change)
		if len(opened) != i+2 || !opened[i].isClosed() || opened[i+1].isClosed() {
			t.Fatalf("after the change %d it shares %+v", i+1, opened)
		}
	}
	if len(opened[1].sent) != len(want) {
		t.Errorf("with another port it asks %v", opened[1].sent)
	}
	off := outsideTurn(51821, 64)
	off.Config.KubeSpan().NAT.STUN = false
	step(off)
	if !opened[2].isClosed() || len(opened) != 3 {
		t.Error("it shares the port although the config does not ask for it")
	}
}

// TestOutsiderTells answers from both servers, and has one report of it.
func TestOutsiderTells(t *testing.T) {
	var reports []mesh.Outside
	o := makeOutsider(&outsider{log: slog.New(slog.DiscardHandler), report: func(found mesh.Outside) { reports = append(reports, found) },
		shared: newSharing(func(uint16, uint32) (sharedConn, error) { return &fakeConn{closed: make(chan struct{})}, nil }, func(error) {}, slog.New(slog.DiscardHandler)),
		resolve: func(context.Context, string) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr("198.51.100.2")}, nil
		}})
	ids := byte(0)
	o.v4.NewID = func() outside.ID { ids++; return outside.ID{ids} }
	o.turn = outsideTurn(51820, 32)
	o.step(t.Context(), time.Now())
	seen := netip.MustParseAddrPort("203.0.113.9:40000")
	for i, from := range []string{"198.51.100.1:3478", "198.51.100.2:3479"} {
		o.v4.Heard(netip.MustParseAddrPort(from), outside.ID{byte(i + 1)}, seen)
	}
	o.step(t.Context(), time.Now())
	o.step(t.Context(), time.Now())
	if len(reports) != 1 || !slices.Equal(reports[0].Endpoints(), []netip.AddrPort{seen}) {
		t.Errorf("it has reported %+v", reports)
	}
	o.turn.Mesh.Link = ""
	o.step(t.Context(), time.Now())
	if len(reports) != 2 || !reports[1].Equal(mesh.Outside{}) {
		t.Errorf("without the mesh it has reported %+v", reports)
	}
}

// TestOutsiderWithoutRights tries again, and says why until it is turned off.
func TestOutsiderWithoutRights(t *testing.T) {
	tries := 0
	ports := newSharedPorts(func(uint16, uint32) (sharedConn, error) {
		tries++
		return nil, errors.Join(sharedport.ErrNotPermitted)
	}, nil, slog.New(slog.DiscardHandler))
	o := makeOutsider(&outsider{log: slog.New(slog.DiscardHandler), report: func(mesh.Outside) {}, shared: ports.sharing(slog.New(slog.DiscardHandler))})
	o.turn = outsideTurn(51820, 32)
	now := time.Now()
	for range 3 {
		again := o.step(t.Context(), now)
		if !again.After(now) {
			t.Fatalf("at %v it is tried again at %v", now, again)
		}
		o.step(t.Context(), now)
		now = again
	}
	if found := notShared(ports.fault()); tries != 3 || len(found) != 1 || !strings.Contains(found[0].Remedy, "CAP_NET_RAW") {
		t.Errorf("after %d tries the condition is %v", tries, found)
	}
	o.turn = reconciler.Turn{}
	o.step(t.Context(), now)
	if found := notShared(ports.fault()); len(found) > 0 {
		t.Errorf("without a mesh the condition is %v", found)
	}
}

// TestKept has peers whose keepalives keep a NAT's mapping.
func TestKept(t *testing.T) {
	turn := outsideTurn(51820, 32)
	turn.Host.Links = []mesh.Link{{Networks: []netip.Prefix{netip.MustParsePrefix("192.168.1.0/24")}}}
	for _, c := range []struct {
		endpoint, state, relay string
		keepalive              int
		want                   bool
	}{
		{"198.51.100.7:51820", string(peer.Up), "", 25, true},
		{"198.51.100.7:51820", string(peer.Up), "", 0, false},
		{"198.51.100.7:51820", string(peer.Down), "", 25, false},
		{"198.51.100.7:51820", string(peer.Up), "hub", 25, false},
		{"192.168.1.7:51820", string(peer.Up), "", 25, false},
		{"[2001:db8::7]:51820", string(peer.Up), "", 25, false},
	} {
		turn.Config.KubeSpan().PersistentKeepalive = c.keepalive
		turn.Peers = []resource.Resource{{Spec: resource.PeerStatus{Endpoint: netip.MustParseAddrPort(c.endpoint), State: peer.State(c.state), Relay: c.relay}}}
		if got := (&outsider{turn: turn}).isKept(true); got != c.want {
			t.Errorf("%+v: kept %v", c, got)
		}
	}
}

// TestCountLosses has a peer be reached in one way after the other.
func TestCountLosses(t *testing.T) {
	direct := resource.PeerStatus{Endpoint: netip.MustParseAddrPort("198.51.100.7:51820"), State: peer.Up}
	near, down, relayed := direct, direct, direct
	near.Endpoint, down.State, relayed.BlindRelay = netip.MustParseAddrPort("192.168.1.7:51820"), peer.Down, "relay"
	o := &outsider{turn: outsideTurn(51820, 32)}
	o.turn.Host.Links = []mesh.Link{{Networks: []netip.Prefix{netip.MustParsePrefix("192.168.1.0/24")}}}
	for i, c := range []struct {
		status resource.PeerStatus
		want   int
	}{{direct, 0}, {direct, 0}, {relayed, 1}, {down, 1}, {direct, 1}, {down, 2}, {near, 2}, {down, 2}, {direct, 2}} {
		o.turn.Peers = []resource.Resource{{ID: "peer", Spec: c.status}}
		if o.countLosses(); o.losses != c.want {
			t.Errorf("turn %d: %d losses, want %d", i, o.losses, c.want)
		}
	}
	o.turn.Peers = nil
	if o.countLosses(); o.losses != 2 {
		t.Error("a peer that has left is lost")
	}
}

func TestServersOfAConfig(t *testing.T) {
	config := &schema.Config{}
	service := &config.Cluster.Discovery.Registries.Service
	for _, text := range []string{"https://a.example.com/", "http://b.example.com", "grpc://[2001:db8::1]:4000"} {
		service.Endpoints = append(service.Endpoints, schema.ServiceURL(text))
	}
	if got := stunServers(config); len(got) != 0 {
		t.Errorf("without discovery, %v are asked", got)
	}
	config.Cluster.Discovery.Enabled = true
	want := []schema.STUNServer{{Host: "a.example.com", Port: 443}, {Host: "b.example.com", Port: 80}, {Host: "2001:db8::1", Port: 4000}}
	if got := stunServers(config); !slices.Equal(got, want) {
		t.Errorf("%v are asked, want %v", got, want)
	}
	service.Disabled = true
	if got := stunServers(config); len(got) != 0 {
		t.Errorf("without services, %v are asked", got)
	}
}

// TestNamesAreResolvedOnceARound has a machine without IPv6, of which no server is asked by it: its turns alone
// resolve no names. Where none could be resolved, that is tried again after a pause.
func TestNamesAreResolvedOnceARound(t *testing.T) {
	resolved, fails := 0, true
	o := makeOutsider(&outsider{log: slog.New(slog.DiscardHandler), report: func(mesh.Outside) {},
		shared: newSharing(func(uint16, uint32) (sharedConn, error) { return &fakeConn{closed: make(chan struct{})}, nil }, func(error) {}, slog.New(slog.DiscardHandler)),
		resolve: func(context.Context, string) ([]netip.Addr, error) {
			if resolved++; fails {
				return nil, errors.New("no such host")
			}
			return []netip.Addr{netip.MustParseAddr("198.51.100.2")}, nil
		}})
	o.turn = outsideTurn(51820, 32)
	o.turn.Config.KubeSpan().NAT.Servers = o.turn.Config.KubeSpan().NAT.Servers[1:2]
	now := time.Now()
	turns := func(what string, seconds, want int) {
		t.Helper()
		for range seconds {
			now = now.Add(time.Second)
			o.step(t.Context(), now)
		}
		if resolved != want {
			t.Errorf("%s: names were resolved %d times, want %d", what, resolved, want)
		}
	}
	turns("none can be resolved", 60, 2)
	fails = false
	turns("they can", 30, 3)
	turns("no server answers for a while, and one round begins", 30, 4)
}
