package outside_test

import (
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/outside"
)

var (
	start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	own   = netip.MustParseAddr("192.168.1.5")
	outer = netip.MustParseAddr("203.0.113.9")
)

const port = 51820

// servers are those of an address each, but for the last, which has another port.
var servers = []string{"198.51.100.1:3478", "198.51.100.2:3478", "198.51.100.3:3478", "198.51.100.1:3479"}

// world has a time and what servers answer.
type world struct {
	t       *testing.T
	now     time.Time
	asker   outside.Asker
	q       outside.Question
	answers map[string]string
	// sent counts the requests to each server.
	sent map[string]int
}

func newWorld(t *testing.T, answers map[string]string) *world {
	w := &world{t: t, now: start, answers: answers, sent: map[string]int{}, q: outside.Question{Port: port, Own: []netip.Addr{own}}}
	for _, s := range servers {
		if _, asked := answers[s]; asked {
			w.q.Servers = append(w.q.Servers, netip.MustParseAddrPort(s))
		}
	}
	count := byte(0)
	w.asker.NewID = func() outside.ID { count++; return outside.ID{count} }
	return w
}

// run steps whenever a step is due, until a time after start.
func (w *world) run(until time.Duration) {
	w.t.Helper()
	for steps := 0; ; steps++ {
		if steps > 1000 {
			w.t.Fatal("it steps without an end")
		}
		send, next := w.asker.Step(w.now, w.q)
		heard := false
		for _, r := range send {
			w.sent[r.To.String()]++
			if seen := w.answers[r.To.String()]; seen != "" {
				w.asker.Heard(r.To, r.ID, netip.MustParseAddrPort(seen))
				heard = true
			}
		}
		if heard {
			continue
		}
		if next.IsZero() || next.After(start.Add(until)) {
			w.now = start.Add(until)
			return
		}
		if !next.After(w.now) {
			w.t.Fatalf("the next step of %v is due at %v", w.now, next)
		}
		w.now = next
	}
}

func (w *world) want(kind mesh.NAT, address netip.Addr, ports ...uint16) {
	w.t.Helper()
	if got := w.asker.Mapping(); !got.Equal(mesh.Mapping{Kind: kind, Address: address, Ports: ports}) {
		w.t.Errorf("the mapping is %+v, want %q %v %v", got, kind, address, ports)
	}
}

func TestKinds(t *testing.T) {
	const here, mapped, other = "192.168.1.5:51820", "203.0.113.9:40000", "203.0.113.9:40001"
	for _, c := range []struct {
		name    string
		answers map[string]string
		want    mesh.Mapping
	}{
		{"nobody answers", map[string]string{servers[0]: "", servers[1]: ""}, mesh.Mapping{}},
		{"no NAT", map[string]string{servers[0]: here, servers[1]: here}, mesh.Mapping{Kind: mesh.NATNone, Address: own}},
		{"no NAT before one server", map[string]string{servers[0]: here}, mesh.Mapping{Kind: mesh.NATNone, Address: own}},
		{"one port", map[string]string{servers[0]: mapped, servers[1]: mapped}, mesh.Mapping{Kind: mesh.NATIndependent, Address: outer, Ports: []uint16{40000}}},
		{"the port is kept", map[string]string{servers[0]: "203.0.113.9:51820", servers[1]: "203.0.113.9:51820"}, mesh.Mapping{Kind: mesh.NATIndependent, Address: outer, Ports: []uint16{port}}},
		{"another port for each", map[string]string{servers[0]: mapped, servers[1]: other}, mesh.Mapping{Kind: mesh.NATDependent, Address: outer}},
		{"another address for each", map[string]string{servers[0]: mapped, servers[1]: "203.0.113.10:40000"}, mesh.Mapping{Kind: mesh.NATDependent, Address: outer}},
		{"another port for each port of a server", map[string]string{servers[0]: mapped, servers[3]: other}, mesh.Mapping{Kind: mesh.NATDependent, Address: outer}},
		{"one server", map[string]string{servers[0]: mapped}, mesh.Mapping{Address: outer, Ports: []uint16{40000}}},
		{"one of two servers", map[string]string{servers[0]: mapped, servers[1]: ""}, mesh.Mapping{Address: outer, Ports: []uint16{40000}}},
		{"two ports of one server", map[string]string{servers[0]: mapped, servers[3]: mapped}, mesh.Mapping{Address: outer, Ports: []uint16{40000}}},
		{"a server on this side", map[string]string{servers[0]: here, servers[1]: mapped, servers[2]: mapped}, mesh.Mapping{Kind: mesh.NATIndependent, Address: outer, Ports: []uint16{40000}}},
		{"a server on this side and one beyond", map[string]string{servers[0]: here, servers[1]: mapped}, mesh.Mapping{Address: outer, Ports: []uint16{40000}}},
		{"what no machine can have", map[string]string{servers[0]: "127.0.0.1:1", servers[1]: "224.0.0.1:1"}, mesh.Mapping{}},
		{"another IP version", map[string]string{servers[0]: "[2001:db8::1]:1"}, mesh.Mapping{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, c.answers)
			w.run(10 * time.Second)
			w.want(c.want.Kind, c.want.Address, c.want.Ports...)
		})
	}
}

var mappedBoth = map[string]string{servers[0]: "203.0.113.9:40000", servers[1]: "203.0.113.9:40000"}

// TestIntervals counts the requests of an hour.
func TestIntervals(t *testing.T) {
	for _, c := range []struct {
		name     string
		answers  map[string]string
		kept     bool
		min, max int
	}{
		{"a mapping that is kept", mappedBoth, true, 12, 13},
		{"a mapping that nothing else keeps", mappedBoth, false, 140, 145},
		{"no NAT", map[string]string{servers[0]: "192.168.1.5:51820", servers[1]: "192.168.1.5:51820"}, false, 12, 13},
		{"servers that do not answer", map[string]string{servers[0]: ""}, false, 7 * 4, 10 * 4},
	} {
		w := newWorld(t, c.answers)
		w.q.Kept = c.kept
		w.run(time.Hour)
		if n := w.sent[servers[0]]; n < c.min || n > c.max {
			t.Errorf("%s: %d requests", c.name, n)
		}
	}
}

// TestRetries loses the first tries, and does not ask again once there are two answers.
func TestRetries(t *testing.T) {
	w := newWorld(t, map[string]string{servers[0]: "", servers[1]: "203.0.113.9:40000", servers[2]: ""})
	w.run(0)
	w.answers[servers[0]] = "203.0.113.9:40000"
	w.run(20 * time.Second)
	w.want(mesh.NATIndependent, outer, 40000)
	if want := map[string]int{servers[0]: 2, servers[1]: 1, servers[2]: 2}; !reflect.DeepEqual(w.sent, want) {
		t.Errorf("the servers were asked %v times", w.sent)
	}
}

func TestChanges(t *testing.T) {
	newKnown := func() *world {
		w := newWorld(t, map[string]string{servers[0]: "203.0.113.9:40000", servers[1]: "203.0.113.9:40000"})
		w.q.Kept = true
		w.run(time.Second)
		w.want(mesh.NATIndependent, outer, 40000)
		return w
	}
	t.Run("another network", func(t *testing.T) {
		w := newKnown()
		w.answers[servers[0]], w.answers[servers[1]] = "203.0.113.77:50000", "203.0.113.77:50000"
		w.q.Network++
		w.run(2 * time.Second)
		w.want(mesh.NATIndependent, netip.MustParseAddr("203.0.113.77"), 50000)
	})
	t.Run("the NAT was restarted", func(t *testing.T) {
		w := newKnown()
		w.answers[servers[0]], w.answers[servers[1]] = "203.0.113.9:40001", "203.0.113.9:40001"
		w.run(4 * time.Minute)
		w.want(mesh.NATIndependent, outer, 40000)
		w.run(6 * time.Minute)
		w.want(mesh.NATIndependent, outer, 40001)
	})
	t.Run("the servers are silent for a while", func(t *testing.T) {
		w := newKnown()
		w.answers[servers[0]], w.answers[servers[1]] = "", ""
		w.run(6 * time.Minute)
		w.want(mesh.NATIndependent, outer, 40000)
		w.run(15 * time.Minute)
		w.want(mesh.NATUnknown, netip.Addr{})
	})
	t.Run("one of two servers is silent", func(t *testing.T) {
		w := newKnown()
		w.answers[servers[1]] = ""
		w.run(6 * time.Minute)
		w.want(mesh.NATIndependent, outer, 40000)
		w.answers[servers[0]] = "203.0.113.9:40001"
		w.run(12 * time.Minute)
		w.want(mesh.NATUnknown, outer, 40001)
	})
	t.Run("one of two servers is silent, and the port is another for each", func(t *testing.T) {
		w := newWorld(t, map[string]string{servers[0]: "203.0.113.9:40000", servers[1]: "203.0.113.9:40001"})
		w.run(time.Second)
		w.answers[servers[0]], w.answers[servers[1]] = "203.0.113.9:40002", ""
		w.run(6 * time.Minute)
		w.want(mesh.NATDependent, outer)
	})
	t.Run("another port", func(t *testing.T) {
		w := newKnown()
		w.answers = map[string]string{}
		w.q.Port++
		w.run(2 * time.Second)
		w.want(mesh.NATUnknown, netip.Addr{})
	})
	t.Run("no mesh", func(t *testing.T) {
		w := newKnown()
		w.q.Port = 0
		if send, next := w.asker.Step(w.now, w.q); len(send) > 0 || !next.IsZero() {
			t.Errorf("%v is sent, the next step is at %v", send, next)
		}
		w.want(mesh.NATUnknown, netip.Addr{})
	})
}

// TestForgedAnswers come from others than who was asked, or have another ID.
func TestForgedAnswers(t *testing.T) {
	w := newWorld(t, map[string]string{servers[0]: ""})
	send, _ := w.asker.Step(w.now, w.q)
	if len(send) != 1 {
		t.Fatalf("%v is sent", send)
	}
	seen := netip.MustParseAddrPort("203.0.113.9:40000")
	w.asker.Heard(netip.MustParseAddrPort(servers[1]), send[0].ID, seen)
	w.asker.Heard(send[0].To, outside.ID{99}, seen)
	w.run(10 * time.Second)
	w.want(mesh.NATUnknown, netip.Addr{})
	w.asker.Heard(send[0].To, send[0].ID, seen) // too late
	w.want(mesh.NATUnknown, netip.Addr{})
}

func TestManyServers(t *testing.T) {
	w := newWorld(t, nil)
	for i := range byte(20) {
		w.q.Servers = append(w.q.Servers, netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, i}), 3478))
	}
	send, _ := w.asker.Step(w.now, w.q)
	if len(send) != outside.MaxServers || slices.Contains(send[1:], send[0]) {
		t.Errorf("%v is sent", send)
	}
}

// TestReturns has servers that are silent while UDP is blocked, for long.
func TestReturns(t *testing.T) {
	w := newWorld(t, map[string]string{servers[0]: "", servers[1]: ""})
	w.run(time.Hour)
	w.want(mesh.NATUnknown, netip.Addr{})
	w.answers[servers[0]], w.answers[servers[1]] = "203.0.113.9:40000", "203.0.113.9:40000"
	w.q.Returns++
	w.run(time.Hour + 15*time.Second)
	w.want(mesh.NATIndependent, outer, 40000)
}

// TestLosses has connections end through the NAT, which has another port from then on.
func TestLosses(t *testing.T) {
	w := newWorld(t, map[string]string{servers[0]: "203.0.113.9:40000", servers[1]: "203.0.113.9:40000"})
	w.q.Kept = true
	w.run(time.Minute)
	w.want(mesh.NATIndependent, outer, 40000)
	for s := range w.answers {
		w.answers[s] = "203.0.113.9:40001"
	}
	w.run(2 * time.Minute)
	w.want(mesh.NATIndependent, outer, 40000)
	w.q.Losses += 3
	w.run(2*time.Minute + time.Second)
	w.want(mesh.NATIndependent, outer, 40001)
	asked := w.sent[servers[0]]
	for i := range 8 {
		w.q.Losses++
		w.run(2*time.Minute + time.Duration(i+2)*time.Second)
	}
	if more := w.sent[servers[0]] - asked; more > 0 {
		t.Errorf("%d requests more within 10 seconds", more)
	}
	w.run(2*time.Minute + 20*time.Second)
	if more := w.sent[servers[0]] - asked; more != 1 {
		t.Errorf("%d requests more after 10 seconds, want 1", more)
	}
}
