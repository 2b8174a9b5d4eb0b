package path_test

import (
	"encoding/binary"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/path"
)

// crowd is a Prober with many peers, all of which the test plays.
type crowd struct {
	now    time.Time
	prober path.Prober
	self   path.Self
	peers  []path.Peer
	theirs map[netip.AddrPort]*path.Secret
	next   time.Time
	ids    uint64
}

// crowdEndpoint returns the endpoint of a peer.
func crowdEndpoint(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{100, byte(64 + i>>16), byte(i >> 8), byte(i)}), listenPort)
}

func newCrowd(t testing.TB, size int) *crowd {
	own := privateOf(t, 1<<32)
	c := &crowd{now: epoch, self: path.Self{Private: own, Public: own.Public()}, theirs: map[netip.AddrPort]*path.Secret{}}
	for i := range size {
		private := privateOf(t, uint64(i))
		c.peers = append(c.peers, path.Peer{Key: private.Public(), Endpoints: []netip.AddrPort{crowdEndpoint(i)}, NAT: mesh.NATNone})
		c.theirs[crowdEndpoint(i)] = secretOf(t, private, own.Public())
	}
	return c
}

// step makes a step, and returns what was sent.
func (c *crowd) step() []path.Send {
	send, next := c.prober.Step(c.now, c.self, c.peers)
	c.next = next
	return send
}

// answer answers pings.
func (c *crowd) answer(send []path.Send) {
	for _, s := range send {
		theirs := c.theirs[s.To]
		if p, ok := theirs.Open(s.Payload); ok && p.Kind == path.Ping {
			pong := theirs.Seal(path.Probe{Kind: path.Pong, ID: p.ID})
			c.prober.Heard(c.now, s.To, pong[:])
		}
	}
}

// run lets time pass, and returns how many packets were sent. All are answered, if they are to be.
func (c *crowd) run(d time.Duration, answered bool) (packets int) {
	for end := c.now.Add(d); ; c.now = c.next {
		send := c.step()
		packets += len(send)
		if answered && len(send) > 0 {
			c.answer(send)
			c.next = c.now
		}
		if c.next.IsZero() || c.next.After(end) {
			c.now = end
			return packets
		}
	}
}

// ping returns a new ping of a peer.
func (c *crowd) ping(i int) []byte {
	c.ids++
	p := path.Probe{Kind: path.Ping}
	binary.BigEndian.PutUint64(p.ID[:], c.ids)
	m := c.theirs[crowdEndpoint(i)].Seal(p)
	return m[:]
}

// TestManyPeersWithoutAnswers has more peers than rounds may be under way: all have their turn, and the
// packets of a second are bounded.
func TestManyPeersWithoutAnswers(t *testing.T) {
	const size, limit = 500, 128 * 4 // candidates a peer has, times pings a second
	c := newCrowd(t, size)
	c.run(0, false)
	waiting := 0
	for i := range c.peers {
		if c.prober.Report(c.peers[i].Key).Why == path.Waiting {
			waiting++
		}
	}
	if waiting != size-128 {
		t.Errorf("%d peers wait for their turn", waiting)
	}
	for range 60 {
		if n := c.run(time.Second, false); n > limit+128 {
			t.Errorf("%d packets in a second", n)
		}
	}
	for i := range c.peers {
		if r := c.prober.Report(c.peers[i].Key); r.Candidates[0].Outcome == path.NotTried {
			t.Fatalf("peer %d had no turn: %+v", i, r)
		}
	}
}

// TestManyPeersGo has peers go that are looked for or wait for it: others have their turn.
func TestManyPeersGo(t *testing.T) {
	c := newCrowd(t, 500)
	all := c.peers
	for range 3 {
		c.peers = all
		c.run(0, false)
		c.peers = nil
		c.run(0, false)
	}
	c.peers = all
	c.run(time.Minute, false)
	for i := range c.peers {
		if r := c.prober.Report(c.peers[i].Key); r.Candidates[0].Outcome == path.NotTried {
			t.Fatalf("peer %d had no turn: %+v", i, r)
		}
	}
}

// TestManyPeersAtRest has a step with nothing due take no memory, and paths one ping in 10 seconds.
func TestManyPeersAtRest(t *testing.T) {
	c := newCrowd(t, 500)
	c.run(time.Second, true)
	if n := len(c.prober.Proven()); n != 500 {
		t.Fatalf("%d paths", n)
	}
	if n := testing.AllocsPerRun(100, func() { c.step() }); n > 0 {
		t.Errorf("a step with nothing due makes %v objects", n)
	}
	packets := c.run(10*time.Second, true)
	if packets < 450 || packets > 550 {
		t.Errorf("%d packets in 10 seconds to 500 peers with paths", packets)
	}
}

// TestManyPeersAnswer has a start with many peers that answer: none waits for the rounds of others.
func TestManyPeersAnswer(t *testing.T) {
	c := newCrowd(t, 500)
	c.run(100*time.Millisecond, true)
	if n := len(c.prober.Proven()); n != 500 {
		t.Errorf("%d paths at once", n)
	}
}

// TestMovedSpreads has the machine's network change: paths are not all probed at once.
func TestMovedSpreads(t *testing.T) {
	c := newCrowd(t, 500)
	c.run(5*time.Second, true)
	c.self.Network++
	if n := len(c.step()); n > 50 {
		t.Errorf("%d packets at once", n)
	}
	c.run(time.Second, true)
	if n := len(c.prober.Proven()); n != 500 {
		t.Errorf("%d paths", n)
	}
}

// TestMemory has peers publish and send from as many endpoints as they can.
func TestMemory(t *testing.T) {
	const size, limit = 500, 9 << 10
	c := newCrowd(t, size)
	for i := range c.peers {
		for k := range byte(7) { // as many as are probed
			e := netip.AddrPortFrom(netip.AddrFrom4([4]byte{101 + k, 0, byte(i >> 8), byte(i)}), listenPort)
			c.peers[i].Endpoints = append(c.peers[i].Endpoints, e)
			c.theirs[e] = c.theirs[crowdEndpoint(i)]
		}
	}
	before := heapSize()
	c.run(20*time.Second, true)
	atRest := heapSize()
	for round := range 20 {
		c.now = c.now.Add(3 * time.Second)
		for i := range size {
			for port := range uint16(10) {
				c.prober.Heard(c.now, netip.AddrPortFrom(crowdEndpoint(i).Addr(), uint16(1000+100*round)+port), c.ping(i))
			}
		}
		c.step()
	}
	flooded := heapSize()
	t.Logf("%d bytes for a peer with a path, %d in a flood", (atRest-before)/size, (flooded-before)/size)
	if (flooded-before)/size > limit {
		t.Errorf("%d bytes for a peer", (flooded-before)/size)
	}
	runtime.KeepAlive(c)
}

func heapSize() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// rested returns a crowd with paths, whose pings are spread over time.
func rested(b *testing.B, size int) *crowd {
	b.Helper()
	c := newCrowd(b, size)
	c.run(20*time.Second, true)
	c.self.Network++ // spreads the pings over a second
	c.run(20*time.Second, true)
	if n := len(c.prober.Proven()); n != size {
		b.Fatalf("%d paths", n)
	}
	return c
}

func BenchmarkStep(b *testing.B) {
	for _, size := range []int{10, 5000} {
		name := map[int]string{10: "10 peers", 5000: "5000 peers"}[size]
		c := rested(b, size)
		b.Run(name+" at rest", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				c.step()
			}
		})
		b.Run(name+", one due", func(b *testing.B) {
			b.ReportAllocs()
			pings := 0
			for b.Loop() {
				c.now = c.next
				send := c.step()
				pings += len(send)
				b.StopTimer()
				c.answer(send)
				c.step()
				b.StartTimer()
			}
			b.ReportMetric(float64(pings)/float64(b.N), "pings/op")
		})
		b.Run(name+" in a new list", func(b *testing.B) {
			lists := [][]path.Peer{c.peers, append([]path.Peer(nil), c.peers...)}
			for i := 0; b.Loop(); i++ {
				c.peers = lists[i%2]
				c.step()
			}
		})
	}
}

func BenchmarkHeard(b *testing.B) {
	c := rested(b, 5000)
	b.Run("ping", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			c.now = c.now.Add(time.Second)
			if n := len(c.prober.Heard(c.now, crowdEndpoint(i%5000), c.ping(i%5000))); n == 0 {
				b.Fatal("no answer")
			}
		}
	})
	b.Run("forged", func(b *testing.B) {
		b.ReportAllocs()
		m := c.ping(1)
		m[path.Size-1]++
		for b.Loop() {
			c.prober.Heard(c.now, crowdEndpoint(1), m)
		}
	})
	b.Run("stranger", func(b *testing.B) {
		b.ReportAllocs()
		m := c.ping(1)
		m[10]++
		for b.Loop() {
			c.prober.Heard(c.now, crowdEndpoint(1), m)
		}
	})
}
