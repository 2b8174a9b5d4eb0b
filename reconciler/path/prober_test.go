package path_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/path"
)

var (
	ownOuter = netip.MustParseAddrPort("203.0.113.1:51820")
	outer    = netip.MustParseAddrPort("203.0.113.2:51820")
	outer2   = netip.MustParseAddrPort("203.0.113.2:40000")
	inner    = netip.MustParseAddrPort("192.168.2.5:51820")
	six      = netip.MustParseAddrPort("[2001:db8:2::5]:51820")
	relay    = netip.MustParseAddrPort("198.51.100.9:51821")
	unknown  = netip.MustParseAddrPort("203.0.113.77:7777")
)

// lab is a Prober whose one peer is the test.
type lab struct {
	t      testing.TB
	now    time.Time
	prober path.Prober
	self   path.Self
	peers  []path.Peer
	// theirs seals what the peer sends.
	theirs *path.Secret
	next   time.Time
	ids    uint64
}

// sent is a ping that was sent, at a time since the start.
type sent struct {
	at time.Duration
	to netip.AddrPort
	// low is set for few hops, and used for one on the path in use.
	low, used bool
	id        path.ID
}

func privateOf(t testing.TB, i uint64) mesh.PrivateKey {
	t.Helper()
	raw := bytes.Repeat([]byte{0}, mesh.KeySize)
	binary.BigEndian.PutUint64(raw[8:], i+1)
	private, err := mesh.NewPrivateKey(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	return private
}

func secretOf(t testing.TB, own mesh.PrivateKey, peer mesh.Key) *path.Secret {
	t.Helper()
	identity, err := path.NewIdentity(own)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := identity.SecretWith(peer)
	if err != nil {
		t.Fatal(err)
	}
	return secret
}

// newLab returns a machine and its peer, both behind NATs. The machine decides which path is used, if it
// is to.
func newLab(t testing.TB, decides bool, endpoints ...netip.AddrPort) *lab {
	t.Helper()
	own, peer := privateOf(t, 1), privateOf(t, 2)
	if (own.Public().Compare(peer.Public()) < 0) != decides {
		own, peer = peer, own
	}
	l := &lab{t: t, now: epoch, theirs: secretOf(t, peer, own.Public())}
	l.self = path.Self{Private: own, Public: own.Public(), NAT: mesh.NATIndependent, Endpoints: []netip.AddrPort{ownOuter}}
	l.peers = []path.Peer{{Key: peer.Public(), Endpoints: endpoints, NAT: mesh.NATIndependent}}
	return l
}

// change changes the peer, in a new list.
func (l *lab) change(do func(p *path.Peer)) {
	l.peers = slices.Clone(l.peers)
	do(&l.peers[0])
}

// step makes a step, and returns the pings.
func (l *lab) step() (pings []sent) {
	send, next := l.prober.Step(l.now, l.self, l.peers)
	l.next = next
	return l.pings(send)
}

// pings returns the pings among packets.
func (l *lab) pings(send []path.Send) (pings []sent) {
	for _, s := range send {
		if p, ok := l.theirs.Open(s.Payload); !ok {
			l.t.Error("a packet that the peer does not take")
		} else if p.Kind == path.Ping {
			pings = append(pings, sent{l.now.Sub(epoch), s.To, s.TTL == 4, p.Used, p.ID})
		}
	}
	return pings
}

// run lets time pass, step by step, and returns the pings. Those to some endpoints are answered.
func (l *lab) run(d time.Duration, answering ...netip.AddrPort) (all []sent) {
	l.t.Helper()
	end := l.now.Add(d)
	for steps := 0; ; steps++ {
		if steps > 100_000 {
			l.t.Fatal("a step is due again and again")
		}
		pings := l.step()
		all = append(all, pings...)
		for _, p := range pings {
			if slices.Contains(answering, p.to) && !p.low {
				l.pong(p.to, p.id)
			}
		}
		if len(pings) > 0 && len(answering) > 0 {
			continue
		}
		if l.next.IsZero() || l.next.After(end) {
			l.now = end
			return all
		}
		l.now = l.next
	}
}

// hear has a probe of the peer come.
func (l *lab) hear(from netip.AddrPort, p path.Probe) []path.Send {
	m := l.theirs.Seal(p)
	return l.prober.Heard(l.now, from, m[:])
}

func (l *lab) pong(from netip.AddrPort, id path.ID) {
	l.hear(from, path.Probe{Kind: path.Pong, ID: id, Seen: ownOuter})
}

// newPing returns a ping of the peer.
func (l *lab) newPing() path.Probe {
	l.ids++
	p := path.Probe{Kind: path.Ping}
	binary.BigEndian.PutUint64(p.ID[:], l.ids)
	return p
}

// path returns the endpoint of the path; invalid for none.
func (l *lab) path() netip.AddrPort {
	if all := l.prober.Proven(); len(all) > 0 {
		return all[0].Endpoint
	}
	return netip.AddrPort{}
}

func (l *lab) report() path.Report { return l.prober.Report(l.peers[0].Key) }

// rounds splits pings by pauses of more than a second.
func rounds(all []sent) (split [][]sent) {
	for i, p := range all {
		if i == 0 || p.at-all[i-1].at > time.Second {
			split = append(split, nil)
		}
		split[len(split)-1] = append(split[len(split)-1], p)
	}
	return split
}

func TestRounds(t *testing.T) {
	l := newLab(t, true, outer)
	all := rounds(l.run(time.Hour))
	if len(all) < 12 || len(all) > 16 {
		t.Errorf("%d rounds in an hour", len(all))
	}
	for i, round := range all {
		if len(round) != 24 {
			t.Errorf("round %d has %d pings", i, len(round))
		}
		for j, p := range round {
			if p.low != (j < 4) || p.at != round[0].at+time.Duration(j)*250*time.Millisecond {
				t.Errorf("round %d has ping %d at %v, few hops %v", i, j, p.at-round[0].at, p.low)
			}
		}
		if i == 0 {
			continue
		}
		pause := round[0].at - all[i-1][0].at - 6*time.Second
		if shortest := 35 * time.Second; pause < shortest {
			t.Errorf("a silence of %v before round %d", pause, i)
		}
		if want := 336*time.Second - 6*time.Second; i > 5 && pause != want {
			t.Errorf("a silence of %v before round %d, want %v", pause, i, want)
		}
	}
	if all[0][0].at != 0 || all[1][0].at > 6*time.Second+35*time.Second+42*time.Second {
		t.Errorf("rounds begin at %v and %v", all[0][0].at, all[1][0].at)
	}
}

// TestRoundsOfBothEnds has two machines that had another number of rounds begin the next at once.
func TestRoundsOfBothEnds(t *testing.T) {
	a, b := newLab(t, true, outer), newLab(t, false, outer)
	b.now = epoch.Add(500 * time.Second)
	starts := map[time.Duration]int{}
	for _, l := range []*lab{a, b} {
		for i, round := range rounds(l.run(epoch.Add(time.Hour).Sub(l.now))) {
			if i > 0 && round[0].at > 1000*time.Second {
				starts[round[0].at]++
			}
		}
	}
	for at, n := range starts {
		if n != 2 {
			t.Errorf("one end alone begins at %v", at)
		}
	}
}

func TestFewHops(t *testing.T) {
	tests := []struct {
		name      string
		own, peer mesh.NAT
		to        netip.AddrPort
		low       bool
	}{
		{"both behind NATs", mesh.NATIndependent, mesh.NATIndependent, outer, true},
		{"the peer behind one alone", mesh.NATNone, mesh.NATIndependent, outer, true},
		{"the peer's is not known", mesh.NATIndependent, mesh.NATUnknown, outer, true},
		{"the peer behind none", mesh.NATIndependent, mesh.NATNone, outer, false},
		{"in a private network", mesh.NATIndependent, mesh.NATIndependent, inner, false},
		{"by IPv6", mesh.NATIndependent, mesh.NATIndependent, six, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			l := newLab(t, true, test.to)
			l.self.NAT, l.peers[0].NAT = test.own, test.peer
			if pings := l.step(); len(pings) != 1 || pings[0].low != test.low {
				t.Errorf("the first pings are %+v", pings)
			}
		})
	}
}

func TestNews(t *testing.T) {
	tests := []struct {
		name   string
		change func(l *lab)
		news   bool
	}{
		{"nothing", func(*lab) {}, false},
		{"a copy of the list", func(l *lab) { l.peers = slices.Clone(l.peers) }, false},
		{"the peer has another endpoint", func(l *lab) {
			l.change(func(p *path.Peer) { p.Endpoints = []netip.AddrPort{outer, outer2} })
		}, true},
		{"the peer has one less", func(l *lab) {
			l.change(func(p *path.Peer) { p.Endpoints = []netip.AddrPort{inner} })
		}, false},
		{"the peer's NAT", func(l *lab) { l.change(func(p *path.Peer) { p.NAT = mesh.NATDependent }) }, true},
		{"the peer is up", func(l *lab) { l.change(func(p *path.Peer) { p.Up = true }) }, false},
		{"WireGuard sends to another endpoint", func(l *lab) { l.change(func(p *path.Peer) { p.Current = outer2 }) }, true},
		{"WireGuard sends to a relay", func(l *lab) { l.change(func(p *path.Peer) { p.Current, p.Relayed = relay, true }) }, false},
		{"the own NAT", func(l *lab) { l.self.NAT = mesh.NATNone }, true},
		{"own endpoints", func(l *lab) { l.self.Endpoints = []netip.AddrPort{unknown} }, true},
		{"the own network", func(l *lab) { l.self.Network++ }, true},
		{"UDP works again", func(l *lab) { l.self.Returns++ }, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			l := newLab(t, true, outer, inner)
			l.run(20 * time.Second)
			test.change(l)
			if pings := l.step(); (len(pings) > 0) != test.news {
				t.Errorf("pings are %+v", pings)
			}
		})
	}
}

// TestReturnLeavesPaths has UDP work again where there is a path already.
func TestReturnLeavesPaths(t *testing.T) {
	l := newLab(t, true, outer)
	l.run(20*time.Second, outer)
	if !l.path().IsValid() {
		t.Fatal("no path")
	}
	l.self.Returns++
	if pings := l.step(); len(pings) > 0 {
		t.Errorf("pings are %+v", pings)
	}
}

// TestManyNews has news each second: a few begin a round at once, the others as often as without news.
func TestManyNews(t *testing.T) {
	l := newLab(t, true, outer)
	var all []sent
	for range 420 {
		l.self.Network++
		all = append(all, l.run(time.Second)...)
	}
	if n := len(all); n < 4*24 || n > (4+420/42)*24 {
		t.Errorf("%d pings", n)
	}
	if l.run(time.Minute) == nil {
		t.Error("no round after the last news")
	}
}

// TestNewsBeginShortPauses has a peer without a path for long: after news, pauses are short again.
func TestNewsBeginShortPauses(t *testing.T) {
	next := func(l *lab) time.Duration {
		l.run(10 * time.Second)
		return l.report().Next.Sub(l.now)
	}
	l := newLab(t, true, outer)
	l.run(time.Hour)
	l.self.Network++
	if pause := next(l); pause > 42*time.Second+35*time.Second {
		t.Errorf("%v until the next round after news", pause)
	}
	l.run(time.Hour)
	l.hear(outer, l.newPing())
	l.run(2*time.Second, outer)
	if !l.path().IsValid() {
		t.Fatal("no path")
	}
	l.run(41 * time.Second)
	if pause := next(l); l.path().IsValid() || pause > 42*time.Second+35*time.Second {
		t.Errorf("%v until the next round after a path has died", pause)
	}
}

// TestPongs has answers that prove a path, and such that do not.
func TestPongs(t *testing.T) {
	stranger := secretOf(t, privateOf(t, 3), newLab(t, true).self.Public)
	tests := []struct {
		name   string
		answer func(l *lab, p sent)
		proves bool
	}{
		{"the right one", func(l *lab, p sent) { l.pong(outer, p.id) }, true},
		{"the right one, seen elsewhere", func(l *lab, p sent) {
			l.hear(outer, path.Probe{Kind: path.Pong, ID: p.id, Seen: unknown})
		}, true},
		{"from an address mapped to IPv6", func(l *lab, p sent) {
			l.pong(netip.AddrPortFrom(netip.AddrFrom16(outer.Addr().As16()), outer.Port()), p.id)
		}, true},
		{"from another port", func(l *lab, p sent) { l.pong(outer2, p.id) }, false},
		{"from another endpoint of the peer", func(l *lab, p sent) { l.pong(inner, p.id) }, false},
		{"of no ping", func(l *lab, p sent) { l.pong(outer, path.ID{1}) }, false},
		{"of the zero ID", func(l *lab, p sent) { l.pong(outer, path.ID{}) }, false},
		{"a ping with its ID", func(l *lab, p sent) { l.hear(outer, path.Probe{Kind: path.Ping, ID: p.id}) }, false},
		{"in 5 seconds", func(l *lab, p sent) {
			l.now = epoch.Add(5 * time.Second)
			l.pong(outer, p.id)
		}, true},
		{"too late", func(l *lab, p sent) {
			l.now = epoch.Add(5*time.Second + 1)
			l.pong(outer, p.id)
		}, false},
		{"after ten other pings", func(l *lab, p sent) {
			l.run(2500 * time.Millisecond)
			l.pong(outer, p.id)
		}, false},
		{"forged", func(l *lab, p sent) {
			m := l.theirs.Seal(path.Probe{Kind: path.Pong, ID: p.id})
			m[path.Size-1]++
			l.prober.Heard(l.now, outer, m[:])
		}, false},
		{"of another machine", func(l *lab, p sent) {
			m := stranger.Seal(path.Probe{Kind: path.Pong, ID: p.id})
			l.prober.Heard(l.now, outer, m[:])
		}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			l := newLab(t, true, outer, inner)
			pings := l.step()
			i := slices.IndexFunc(pings, func(p sent) bool { return p.to == outer })
			l.now = l.now.Add(30 * time.Millisecond)
			test.answer(l, pings[i])
			if got := l.path(); got.IsValid() != test.proves {
				t.Errorf("the path is %v", got)
			} else if got.IsValid() && got != outer {
				t.Errorf("the path is %v", got)
			}
		})
	}
}

// TestReplayedPong has an answer come again after the path has died.
func TestReplayedPong(t *testing.T) {
	l := newLab(t, true, outer)
	first := l.step()[0]
	l.pong(outer, first.id)
	var ids []path.ID
	for _, p := range l.run(time.Minute, outer) {
		ids = append(ids, p.id)
	}
	l.run(41 * time.Second)
	if l.path().IsValid() {
		t.Fatal("the path has not died")
	}
	for _, id := range append(ids, first.id) {
		l.pong(outer, id)
	}
	if l.path().IsValid() {
		t.Error("old answers prove a path")
	}
}

// TestPings has pings that are answered and sent back, and such that are not.
func TestPings(t *testing.T) {
	tests := []struct {
		name        string
		from        netip.AddrPort
		make        func(l *lab) []byte
		pong, pings int
	}{
		{"from a known endpoint", outer, func(l *lab) []byte { return l.sealed(l.newPing()) }, 1, 1},
		{"from an unknown one", unknown, func(l *lab) []byte { return l.sealed(l.newPing()) }, 1, 1},
		{"a copy from the same one", outer, func(l *lab) []byte {
			m := l.sealed(l.newPing())
			l.prober.Heard(l.now, outer, m)
			return m
		}, 1, 0},
		{"a copy from an unknown one", unknown, func(l *lab) []byte {
			m := l.sealed(l.newPing())
			l.prober.Heard(l.now, outer, m)
			return m
		}, 0, 0},
		{"forged", unknown, func(l *lab) []byte {
			m := l.sealed(l.newPing())
			m[20]++
			return m
		}, 0, 0},
		{"longer", unknown, func(l *lab) []byte { return append(l.sealed(l.newPing()), 0) }, 0, 0},
		{"from itself", ownOuter, func(l *lab) []byte { return l.sealed(l.newPing()) }, 0, 0},
		{"by the relay", relay, func(l *lab) []byte { return l.sealed(l.newPing()) }, 0, 0},
		{"from loopback", netip.MustParseAddrPort("127.0.0.1:51820"), func(l *lab) []byte { return l.sealed(l.newPing()) }, 0, 0},
		{"from port 0", netip.MustParseAddrPort("203.0.113.2:0"), func(l *lab) []byte { return l.sealed(l.newPing()) }, 0, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			l := newLab(t, true, outer)
			l.peers[0].Current, l.peers[0].Relayed = relay, true
			l.run(20 * time.Second)
			packet := test.make(l)
			answers := l.prober.Heard(l.now, test.from, packet)
			pings := l.pings(answers)
			if pongs := len(answers) - len(pings); pongs != test.pong || len(pings) != test.pings {
				t.Errorf("%d pongs and %d pings", pongs, len(pings))
			}
			for _, a := range answers {
				if a.To != test.from || len(a.Payload) != len(packet) {
					t.Errorf("an answer of %d bytes to %v", len(a.Payload), a.To)
				}
				if p, _ := l.theirs.Open(a.Payload); p.Kind == path.Pong && p.Seen != test.from {
					t.Errorf("the answer shows %v", p.Seen)
				}
			}
		})
	}
}

// sealed returns a packet of the peer.
func (l *lab) sealed(p path.Probe) []byte {
	m := l.theirs.Seal(p)
	return m[:]
}

// TestLearntPath has a peer behind a symmetric NAT send the first ping.
func TestLearntPath(t *testing.T) {
	l := newLab(t, true, inner)
	l.peers[0].NAT = mesh.NATDependent
	l.run(20 * time.Second)
	back := l.pings(l.hear(unknown, l.newPing()))
	l.pong(unknown, back[0].id)
	if l.path() != unknown || !l.prober.Proven()[0].Punched {
		t.Errorf("the paths are %+v", l.prober.Proven())
	}
}

// TestPingsBack has a ping come in a silence: the endpoint is pinged 4 times, of which 3 may be lost. In a
// round's first second, pings to where it comes from go all hops from then on.
func TestPingsBack(t *testing.T) {
	for _, from := range []netip.AddrPort{outer, unknown} {
		l := newLab(t, true, outer)
		l.run(20 * time.Second)
		pings := append(l.pings(l.hear(from, l.newPing())), l.run(5*time.Second)...)
		if len(pings) != 4 || pings[3].to != from || pings[3].at-pings[0].at != 750*time.Millisecond {
			t.Errorf("pings back are %+v", pings)
		}
		l = newLab(t, true, outer)
		l.run(0)
		for _, p := range append(l.pings(l.hear(from, l.newPing())), l.run(250*time.Millisecond)...) {
			if p.to == from && p.low {
				t.Errorf("a ping to %v goes few hops", from)
			}
		}
	}
}

// TestLearntAreKept has a peer send from an endpoint that it has not published: rounds try it for a
// minute, and another one takes its place if there are too many.
func TestLearntAreKept(t *testing.T) {
	tried := func(l *lab, e netip.AddrPort) bool {
		l.self.Network++ // a round
		return slices.ContainsFunc(l.run(10*time.Second), func(p sent) bool { return p.to == e })
	}
	l := newLab(t, true, outer)
	l.run(20 * time.Second)
	l.hear(unknown, l.newPing())
	l.run(10 * time.Second)
	if !tried(l, unknown) {
		t.Error("a learnt endpoint is not tried")
	}
	l.run(time.Minute)
	if tried(l, unknown) {
		t.Error("an old endpoint is tried")
	}
	port := func(i uint16) netip.AddrPort { return netip.AddrPortFrom(unknown.Addr(), i) }
	for i := range uint16(4) {
		l.hear(port(i+1), l.newPing())
	}
	if len(l.hear(port(5), l.newPing())) > 0 {
		t.Error("a fifth is answered at once")
	}
	l.run(5 * time.Second)
	if len(l.hear(port(5), l.newPing())) == 0 || !tried(l, port(5)) || tried(l, port(1)) {
		t.Error("a fifth does not take the place of the first")
	}
}

// TestFoundPathEndsRounds has a path: what else there is, is tried for a second more.
func TestFoundPathEndsRounds(t *testing.T) {
	l := newLab(t, false, outer, inner)
	l.run(2*time.Second, outer)
	start := l.now.Sub(epoch)
	for _, p := range l.run(10*time.Minute, outer) {
		if p.to == inner && p.at > start+time.Second {
			t.Fatalf("another endpoint is tried after %v", p.at)
		}
	}
	l = newLab(t, false, outer, inner)
	l.run(20 * time.Second) // a silence
	for _, back := range l.pings(l.hear(outer, l.newPing())) {
		l.pong(back.to, back.id)
	}
	for _, p := range l.run(10*time.Minute, outer) {
		if p.to == inner {
			t.Fatalf("a round begins at %v though there is a path", p.at)
		}
	}
}

// TestLearntPathDies has WireGuard send on a path that the peer has not published, and go back to the
// relay: the next round tries it.
func TestLearntPathDies(t *testing.T) {
	l := newLab(t, true, inner)
	l.peers[0].Current, l.peers[0].Relayed = relay, true
	l.run(20 * time.Second)
	for _, back := range l.pings(l.hear(unknown, l.newPing())) {
		l.pong(unknown, back.id)
	}
	l.change(func(p *path.Peer) { p.Current, p.Relayed = unknown, false })
	for range 6 {
		l.run(10*time.Second, unknown)
		l.hear(unknown, l.newPing())
	}
	l.run(41 * time.Second)
	l.change(func(p *path.Peer) { p.Current, p.Relayed = relay, true })
	pings := l.run(3 * time.Second)
	if l.path().IsValid() || !slices.ContainsFunc(pings, func(p sent) bool { return p.to == unknown && !p.used }) {
		t.Errorf("the path is %v, and pings are %+v", l.path(), pings)
	}
}

// TestAnswersAreBounded floods a Prober, and counts what it sends by source and second.
func TestAnswersAreBounded(t *testing.T) {
	tests := []struct {
		name    string
		copies  bool
		sources int
		// pongs and pings are those to a source at most, and unknown the sources that the peer has not
		// published and that are answered.
		pongs, pings, unknown int
	}{
		{"new pings of one source", false, 1, 16, 4, 0},
		{"copies of one source", true, 1, 8, 0, 0},
		{"new pings of many sources", false, 100, 16, 4, 4},
		{"copies of many sources", true, 100, 8, 0, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			l := newLab(t, true, outer)
			l.run(20 * time.Second)
			copied := l.newPing()
			l.hear(outer, copied)
			l.run(10 * time.Second)
			pongs, pings := map[netip.AddrPort]int{}, map[netip.AddrPort]int{}
			for i := range 100 * test.sources {
				from, probe := outer, copied
				if i%test.sources > 0 {
					from = netip.AddrPortFrom(unknown.Addr(), uint16(1000+i%test.sources))
				}
				if !test.copies {
					probe = l.newPing()
				}
				l.now = epoch.Add(30*time.Second + time.Duration(i)*time.Second/time.Duration(100*test.sources))
				answers := l.hear(from, probe)
				back := l.pings(answers)
				pongs[from] += len(answers) - len(back)
				pings[from] += len(back)
			}
			answered := 0
			for from, n := range pongs {
				if n > 0 && from != outer {
					answered++
				}
				if n > test.pongs || pings[from] > test.pings {
					t.Errorf("%v got %d pongs and %d pings", from, n, pings[from])
				}
			}
			if answered != test.unknown {
				t.Errorf("%d unknown sources are answered, want %d", answered, test.unknown)
			}
		})
	}
}

// TestFloodOfCopies has a stranger send copies from the path's endpoint: the peer is answered all the same.
func TestFloodOfCopies(t *testing.T) {
	l := newLab(t, true, outer)
	l.run(2*time.Second, outer)
	copied := l.newPing()
	for range 1000 {
		l.hear(outer, copied)
	}
	if answers := l.hear(outer, l.newPing()); len(answers) != 1 {
		t.Errorf("%d answers", len(answers))
	}
}

// TestPathLoss has a path that is not answered any more.
func TestPathLoss(t *testing.T) {
	l := newLab(t, true, outer)
	l.run(30*time.Second, outer)
	last := l.run(time.Minute)
	at := func(i int) time.Duration { return last[i].at - last[0].at }
	if at(1) != 10*time.Second || at(2) != 20*time.Second || at(3) != 30*time.Second || !last[2].used || last[3].used {
		t.Errorf("pings are %+v", last[:5])
	}
	if l.path().IsValid() || !last[3].low {
		t.Errorf("no round begins at once: %+v", last[3])
	}
	if pings := l.run(2*time.Minute, outer); l.path() != outer {
		t.Errorf("the path is not found again by %d pings", len(pings))
	}
}

// TestOneLostPing keeps a path, whatever one or two pings do.
func TestOneLostPing(t *testing.T) {
	l := newLab(t, true, outer)
	l.run(2*time.Second, outer)
	for range 20 {
		l.run(20 * time.Second)
		l.run(10*time.Second, outer)
		if l.path() != outer {
			t.Fatal("the path is lost")
		}
	}
}

// TestDoubt has news that may have ended a path: it has 3 pings in as many seconds.
func TestDoubt(t *testing.T) {
	tests := []struct {
		name   string
		change func(l *lab)
		doubt  bool
	}{
		{"nothing", func(*lab) {}, false},
		{"WireGuard's packets are not answered", func(l *lab) { l.change(func(p *path.Peer) { p.Up = false }) }, true},
		{"the own network", func(l *lab) { l.self.Network++ }, true},
		{"the peer has another endpoint", func(l *lab) {
			l.change(func(p *path.Peer) { p.Endpoints = []netip.AddrPort{outer, outer2} })
		}, true},
		{"the peer uses another path", func(l *lab) {
			p := l.newPing()
			p.Used = true
			l.hear(unknown, p)
		}, true},
		{"the peer tries another path", func(l *lab) { l.hear(unknown, l.newPing()) }, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for _, answers := range []bool{false, true} {
				l := newLab(t, true, outer)
				l.peers[0].Up, l.peers[0].Current = true, outer
				l.run(31*time.Second, outer)
				test.change(l)
				var answering []netip.AddrPort
				if answers {
					answering = []netip.AddrPort{outer}
				}
				l.run(4*time.Second+time.Millisecond, answering...)
				if kept := l.path().IsValid(); kept != (answers || !test.doubt) {
					t.Errorf("with answers %v, the path is kept: %v", answers, kept)
				}
			}
		})
	}
}

// TestCopiedPong has an answer come twice: the second one does not show that the path is there.
func TestCopiedPong(t *testing.T) {
	l := newLab(t, false, outer)
	l.run(time.Second, outer)
	ping := l.run(10 * time.Second)[0]
	l.pong(outer, ping.id)
	l.now = l.now.Add(4 * time.Second)
	l.pong(outer, ping.id)
	if pings := l.run(6 * time.Second); len(pings) != 1 {
		t.Errorf("pings are %+v", pings)
	}
}

// TestLateDoubt has news amid missed pings: the path dies no later, and the last ping has its time.
func TestLateDoubt(t *testing.T) {
	for _, late := range []time.Duration{time.Millisecond, 9500 * time.Millisecond} {
		l := newLab(t, false, outer)
		l.run(time.Second, outer)
		l.run(30 * time.Second)
		third := l.now
		l.now = third.Add(late)
		l.change(func(p *path.Peer) { p.Endpoints = []netip.AddrPort{outer, outer2} })
		l.step()
		if !l.path().IsValid() {
			t.Errorf("the path dies %v after a ping", late)
		}
		l.run(third.Add(min(10*time.Second, late+time.Second)).Sub(l.now))
		if l.path().IsValid() {
			t.Errorf("with news after %v, the path is there %v after the last ping", late, l.now.Sub(third))
		}
	}
}

// TestOneServerHasAnswered has a machine that knows from one server that UDP passes, and not which kind of
// NAT there is.
func TestOneServerHasAnswered(t *testing.T) {
	for _, peer := range []mesh.NAT{mesh.NATDependent, mesh.NATIndependent} {
		l := newLab(t, true, outer)
		l.self.NAT, l.self.Heard, l.peers[0].NAT = mesh.NATUnknown, true, peer
		l.run(20 * time.Second)
		if r := l.report(); r.Why != path.NoAnswer {
			t.Errorf("with a peer that is %q, the reason is %q", peer, r.Why)
		}
	}
}

// TestRefused has pairs that cannot punch, which are not tried.
func TestRefused(t *testing.T) {
	tests := []struct {
		own, peer mesh.NAT
		to        netip.AddrPort
		why       path.Reason
		pings     bool
	}{
		{mesh.NATDependent, mesh.NATDependent, outer, path.BothDependent, false},
		{mesh.NATDependent, mesh.NATDependent, inner, path.BothDependent, true},
		{mesh.NATDependent, mesh.NATDependent, six, path.BothDependent, true},
		{mesh.NATDependent, mesh.NATIndependent, outer, path.OneDependent, true},
		{mesh.NATIndependent, mesh.NATDependent, outer, path.OneDependent, true},
		{mesh.NATIndependent, mesh.NATIndependent, outer, path.NoAnswer, true},
		{mesh.NATNone, mesh.NATNone, outer, path.NoAnswer, true},
		{mesh.NATDependent, mesh.NATUnknown, outer, path.NoAnswer, true},
		{mesh.NATUnknown, mesh.NATDependent, outer, path.Blocked, true},
		{mesh.NATUnknown, mesh.NATIndependent, outer, path.Blocked, true},
	}
	for _, test := range tests {
		t.Run(fmt.Sprintf("%q and %q at %v", test.own, test.peer, test.to), func(t *testing.T) {
			l := newLab(t, true, test.to)
			l.self.NAT, l.peers[0].NAT = test.own, test.peer
			if pings := l.run(20 * time.Second); (len(pings) > 0) != test.pings {
				t.Errorf("%d pings", len(pings))
			}
			if r := l.report(); r.Why != test.why || r.Why.Text() == "" {
				t.Errorf("the reason is %q: %q, want %q", r.Why, r.Why.Text(), test.why)
			}
		})
	}
}

// TestChoice has two endpoints that answer: one end decides by what is better, the other one follows.
func TestChoice(t *testing.T) {
	tests := []struct {
		name    string
		decides bool
		used    netip.AddrPort
		want    netip.AddrPort
	}{
		{"the better one", true, netip.AddrPort{}, inner},
		{"the better one, whatever the peer uses", true, outer, inner},
		{"what the peer uses", false, inner, inner},
		{"what the peer uses, though it is not better", false, outer, outer},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			l := newLab(t, test.decides, outer, inner)
			l.run(10*time.Second, outer, inner)
			if test.used.IsValid() {
				p := l.newPing()
				p.Used = true
				for _, back := range l.pings(l.hear(test.used, p)) {
					l.pong(back.to, back.id)
				}
			}
			l.run(10*time.Second, outer, inner)
			if got := l.path(); got != test.want {
				t.Errorf("the path is %v, want %v", got, test.want)
			}
		})
	}
}

func TestReport(t *testing.T) {
	l := newLab(t, true, outer, inner)
	if r := l.report(); r.Why != path.NoAgent {
		t.Errorf("before the first step: %+v", r)
	}
	l.step()
	if r := l.report(); r.Why != path.Probing || r.Candidates[0].Outcome != path.Tried || r.Own != mesh.NATIndependent || r.Peer != mesh.NATIndependent {
		t.Errorf("in a round: %+v", r)
	}
	l.run(10 * time.Second)
	if r := l.report(); r.Why != path.NoAnswer || r.Candidates[1].Outcome != path.Silent || r.Next.Before(l.now.Add(30*time.Second)) {
		t.Errorf("after it: %+v", r)
	}
	l.self.Network++
	l.run(10*time.Second, outer)
	if r := l.report(); r.Why != "" || r.Path.Endpoint != outer || r.Candidates[0].Outcome != path.InUse || r.Candidates[1].Outcome != path.Silent || !r.Next.IsZero() {
		t.Errorf("with a path: %+v", r)
	}
	l.change(func(p *path.Peer) { p.Endpoints = nil })
	l.run(time.Minute)
	l.run(time.Minute)
	if r := l.report(); r.Path.Endpoint.IsValid() || r.Why != path.NoEndpoints {
		t.Errorf("without endpoints: %+v", r)
	}
}

// TestPeersComeAndGo removes a peer, the key and all peers.
func TestPeersComeAndGo(t *testing.T) {
	l := newLab(t, true, outer)
	l.run(2*time.Second, outer)
	peers, private := l.peers, l.self.Private
	gone := func(name string) {
		t.Helper()
		if pings := l.run(time.Minute); len(pings) > 0 || l.path().IsValid() || len(l.hear(outer, l.newPing())) > 0 {
			t.Errorf("%s: %d pings, path %v", name, len(pings), l.path())
		}
	}
	l.peers = nil
	gone("without peers")
	l.peers = peers
	if l.run(2*time.Second, outer); l.path() != outer {
		t.Error("no path to a peer that came again")
	}
	l.self.Private = mesh.PrivateKey{}
	gone("without a key")
	l.self.Private = private
	if l.run(2*time.Second, outer); l.path() != outer {
		t.Error("no path with the key again")
	}
	l.peers = []path.Peer{{Endpoints: []netip.AddrPort{outer}}, {Key: mesh.Key{1}, Endpoints: []netip.AddrPort{outer}}}
	gone("keys that no machine has")
}

// TestCandidatesAreBounded has a peer publish far too much.
func TestCandidatesAreBounded(t *testing.T) {
	l := newLab(t, true)
	for i := range 1000 {
		l.peers[0].Endpoints = append(l.peers[0].Endpoints, netip.AddrPortFrom(outer.Addr(), uint16(1000+i)))
	}
	for i := range 100 {
		l.peers[0].Endpoints = append(l.peers[0].Endpoints, netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(i)}), 1))
	}
	l.run(20 * time.Second)
	for i := range 1000 {
		l.now = l.now.Add(100 * time.Millisecond)
		l.hear(netip.AddrPortFrom(unknown.Addr(), uint16(1000+i)), l.newPing())
		l.step()
	}
	published, learnt := 0, 0
	for _, c := range l.report().Candidates {
		if c.Learnt {
			learnt++
		} else {
			published++
		}
	}
	if published != 8 || learnt != 4 {
		t.Errorf("%d candidates are published, %d learnt", published, learnt)
	}
	l.run(10 * time.Minute)
	if n := len(l.report().Candidates); n != 8 {
		t.Errorf("%d candidates after a while", n)
	}
}
