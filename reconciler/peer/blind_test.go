package peer

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/spanmesh/span/reconciler/mesh"
)

var (
	relayOne = netip.MustParseAddrPort("203.0.113.1:51821")
	relayTwo = netip.MustParseAddrPort("203.0.113.2:51821")
)

// behindRelays is a machine that is registered with two relays.
func behindRelays(specs []mesh.PeerSpec) Input {
	return Input{Self: mesh.Key{200}, Specs: specs, Relays: []mesh.BlindRelay{{Key: mesh.Key{101}, Endpoints: []netip.AddrPort{relayOne}}, {Key: mesh.Key{102}, Endpoints: []netip.AddrPort{relayTwo}}},
		Registered: []BlindRelay{{Key: mesh.Key{101}, Endpoint: relayOne}, {Key: mesh.Key{102}, Endpoint: relayTwo}}}
}

func TestRelaysAreTheLastCandidates(t *testing.T) {
	list := specs(1, 2, 3)
	list[1].Registered = []mesh.Key{{102}, {77}}
	list[2].Registered = []mesh.Key{{101}, {102}}
	in := behindRelays(list)
	var tracker Tracker
	next := tracker.Next(start, in)
	if got := next[0].Candidates; !slices.Equal(got, []netip.AddrPort{one, two}) {
		t.Errorf("of a peer that is not registered, the candidates are %v", got)
	}
	if got := next[1].Candidates; !slices.Equal(got, []netip.AddrPort{one, two, relayTwo}) {
		t.Errorf("of one that shares a relay, they are %v", got)
	}
	if got := next[2].Candidates; len(got) != 4 || !slices.Contains(got, relayOne) || !slices.Contains(got, relayTwo) {
		t.Errorf("of one that shares two, they are %v", got)
	}
	in.Registered = nil
	if got := tracker.Next(start, in)[2].Candidates; !slices.Equal(got, []netip.AddrPort{one, two}) {
		t.Errorf("a machine that is not registered has the candidates %v", got)
	}
}

// TestBothEndsOrderRelaysAlike has different pairs prefer different relays, and both ends of a pair the same.
func TestBothEndsOrderRelaysAlike(t *testing.T) {
	preferred := map[netip.AddrPort]int{}
	for i := range byte(64) {
		in := behindRelays(nil)
		there := mesh.PeerSpec{PublicKey: mesh.Key{i}, Registered: []mesh.Key{{101}, {102}}}
		here := mesh.PeerSpec{PublicKey: in.Self, Registered: there.Registered}
		order := in.behind(&there)
		in.Self = there.PublicKey
		if other := in.behind(&here); !slices.Equal(order, other) {
			t.Errorf("%d: one end has %v, the other %v", i, order, other)
		}
		preferred[order[0]]++
	}
	if preferred[relayOne] < 16 || preferred[relayTwo] < 16 {
		t.Errorf("the relays are preferred %v times", preferred)
	}
}

// TestPeersBehindARelay has two peers at the endpoint of one relay.
func TestPeersBehindARelay(t *testing.T) {
	var tracker Tracker
	list := specs(1, 2)
	for i := range list {
		list[i].Registered = []mesh.Key{{101}}
	}
	in := behindRelays(list)
	in.Observed = []Observed{upAt(1, relayOne), upAt(2, relayOne)}
	changed, lastGood := commit(t, &tracker, start, in)
	if len(changed) != 2 || lastGood || len(tracker.LastGood()) > 0 {
		t.Errorf("changed are %v, last good endpoints %v", changed, tracker.LastGood())
	}
	c := tracker.Connections()
	if !c[0].IsBlind() || !c[1].IsBlind() || c[0].BlindRelay != (mesh.Key{101}) {
		t.Errorf("connections are %+v", c)
	}
	if found := c.Harvest(at(1), in.Self, list); len(found) > 0 {
		t.Errorf("the relay's endpoint is published as that of %v", found)
	}
	probed := slices.Clone(c)
	probed[0].Status.probing.since = InstantOf(start)
	if taken := occupants(probed); taken == nil || len(taken) > 0 {
		t.Errorf("one peer displaces another at %v", taken)
	}
	in.Observed = []Observed{upAt(1, away), upAt(2, relayOne)}
	if changed, lastGood := commit(t, &tracker, at(1), in); !slices.Equal(changed, []mesh.Key{{1}}) || !lastGood {
		t.Errorf("once one is reached directly, changed are %v", changed)
	}
}

// TestRelayEndsATrial has two machines register with a relay while an endpoint is on trial.
func TestRelayEndsATrial(t *testing.T) {
	for _, c := range []struct {
		name              string
		probing, answered bool
		second            int
		want              netip.AddrPort
		// renews is set where WireGuard is to send at once: the other end leaves that to this one.
		renews bool
	}{
		{name: "nothing was sent", probing: true, second: 3, want: relayOne},
		{name: "nothing was sent, and this end begins", probing: true, second: 3, want: relayOne, renews: true},
		{name: "it has just begun", probing: true},
		{name: "it has an answer", probing: true, answered: true, second: 3},
		{name: "nobody looks for paths", second: 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			var tracker Tracker
			list := specs(1)
			list[0].Probes = true
			in := behindRelays(list)
			in.Probing = c.probing
			if c.renews {
				in.Self = mesh.Key{0, 1}
			}
			commit(t, &tracker, start, in)
			if first := tracker.Connections()[0].Action.Endpoint; first != one {
				t.Fatalf("the first endpoint on trial is %v", first)
			}
			in.Observed = []Observed{{Key: mesh.Key{1}, Present: true, Endpoint: one}}
			commit(t, &tracker, start, in)
			list[0].Registered = []mesh.Key{{101}}
			if c.answered {
				in.Observed[0].ReceiveBytes = 100
			}
			commit(t, &tracker, at(c.second), in)
			if got := tracker.Connections()[0].Action; got.Endpoint != c.want || got.Renew != c.renews {
				t.Errorf("the next endpoint on trial is %v, want %v; anew: %t", got.Endpoint, c.want, got.Renew)
			}
			in.Observed[0].Endpoint = relayOne
			commit(t, &tracker, at(c.second+1), in)
			if got := tracker.Connections()[0].Action.Endpoint; c.want.IsValid() && got.IsValid() {
				t.Errorf("the relay's trial is followed by that of %v at once", got)
			}
		})
	}
}

// TestPeersFollowPaths moves a peer from a relay to a direct path and back, without a trial.
func TestPeersFollowPaths(t *testing.T) {
	var tracker Tracker
	list := specs(1)
	list[0].Registered, list[0].Probes = []mesh.Key{{101}}, true
	in := behindRelays(list)
	in.Probing = true
	pass := func(second int, endpoint netip.AddrPort) *Connection {
		t.Helper()
		in.Observed = []Observed{upAt(1, endpoint)}
		in.Observed[0].ReceiveBytes += int64(second)
		commit(t, &tracker, at(second), in)
		c := &tracker.Connections()[0]
		if !c.IsUp() {
			t.Fatalf("second %d: the peer is %s", second, c.Status.State)
		}
		return c
	}
	if c := pass(0, relayOne); c.Action.Endpoint.IsValid() || !c.IsBlind() {
		t.Fatalf("without a path: %+v", c)
	}
	in.Paths = []mesh.Path{{Peer: mesh.Key{1}, Endpoint: away}}
	if c := pass(1, relayOne); c.Action.Endpoint != away || c.IsBlind() || c.LastGood != away {
		t.Errorf("with a path, the peer is to have %v, last good %v", c.Action.Endpoint, c.LastGood)
	}
	if c := pass(2, away); c.Action.Endpoint.IsValid() {
		t.Errorf("at its path, the peer is to have %v", c.Action.Endpoint)
	}
	// The other end has sent by the relay meanwhile.
	if c := pass(3, relayOne); c.Action.Endpoint != away {
		t.Errorf("back at the relay, the peer is to have %v", c.Action.Endpoint)
	}
	pass(4, away)
	in.Paths[0].Endpoint = one
	if c := pass(5, away); c.Action.Endpoint != one {
		t.Errorf("with another path, the peer is to have %v", c.Action.Endpoint)
	}
	pass(6, one)
	in.Paths = nil
	if c := pass(7, one); c.Action.Endpoint != relayOne || !c.IsBlind() {
		t.Errorf("without the path, the peer is to have %v", c.Action.Endpoint)
	}
	// An endpoint that no probe has shown is the peer's own affair.
	in.Paths = nil
	pass(8, two)
	if c := pass(9, two); c.Action.Endpoint.IsValid() {
		t.Errorf("at an endpoint of its own, the peer is to have %v", c.Action.Endpoint)
	}
}

// TestPathThatWireGuardDoesNotPass has probes answered, and nothing else.
func TestPathThatWireGuardDoesNotPass(t *testing.T) {
	var tracker Tracker
	list := specs(1)
	list[0].Registered, list[0].Probes = []mesh.Key{{101}}, true
	in := behindRelays(list)
	in.Probing, in.Paths = true, []mesh.Path{{Peer: mesh.Key{1}, Endpoint: away}}
	in.Observed = []Observed{upAt(1, away)}
	commit(t, &tracker, at(0), in)
	second := 1
	for ; tracker.Connections()[0].IsUp() && second < 600; second++ {
		commit(t, &tracker, at(second), in)
	}
	if got := tracker.Connections()[0].Action.Endpoint; got != relayOne {
		t.Fatalf("after %d s the peer is to have %v, want the relay", second, got)
	}
	in.Observed = []Observed{upAt(1, relayOne)}
	in.Observed[0].LastHandshake, in.Observed[0].ReceiveBytes = at(second), 500
	for range 60 {
		second++
		in.Observed[0].ReceiveBytes++
		commit(t, &tracker, at(second), in)
		if c := tracker.Connections()[0]; !c.IsUp() || c.Action.Endpoint.IsValid() {
			t.Fatalf("at the relay, the peer is %s and to have %v", c.Status.State, c.Action.Endpoint)
		}
	}
	for range 300 {
		second++
		in.Observed[0].ReceiveBytes++
		in.Observed[0].LastHandshake = at(second)
		commit(t, &tracker, at(second), in)
		if tracker.Connections()[0].Action.Endpoint == away {
			return
		}
	}
	t.Error("the path is never tried again")
}

// TestProbedPeersBeginAtARelay has probes look for a path while a relay carries packets.
func TestProbedPeersBeginAtARelay(t *testing.T) {
	list := specs(1)
	list[0].Registered, list[0].Probes = []mesh.Key{{101}}, true
	in := behindRelays(list)
	for _, c := range []struct {
		name          string
		probing, peer bool
		path          netip.AddrPort
		want          []netip.AddrPort
	}{
		{"both probe", true, true, netip.AddrPort{}, []netip.AddrPort{relayOne, one, two}},
		{"a path is known", true, true, away, []netip.AddrPort{away, relayOne, one, two}},
		{"the peer does not", true, false, netip.AddrPort{}, []netip.AddrPort{one, two, relayOne}},
		{"this machine does not", false, true, netip.AddrPort{}, []netip.AddrPort{one, two, relayOne}},
	} {
		in.Probing, list[0].Probes, in.Paths = c.probing, c.peer, []mesh.Path{{Peer: mesh.Key{1}, Endpoint: c.path}}
		if got, _ := in.candidates(netip.AddrPort{}, &list[0], in.pathTo(mesh.Key{1})); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// TestPeersLeaveARelay has a machine use relays no more.
func TestPeersLeaveARelay(t *testing.T) {
	var tracker Tracker
	list := specs(1)
	list[0].Registered, list[0].Probes = []mesh.Key{{101}}, true
	in := behindRelays(list)
	pass := func(second int, endpoint netip.AddrPort) Connection {
		in.Observed = []Observed{upAt(1, endpoint)}
		in.Observed[0].ReceiveBytes += int64(second)
		commit(t, &tracker, at(second), in)
		return tracker.Connections()[0]
	}
	pass(0, relayOne)
	in.Registered, in.Relays = nil, nil
	if c := pass(1, relayOne); c.Action.Endpoint != one || c.LastGood == relayOne {
		t.Fatalf("the peer is to have %v, last good %v", c.Action.Endpoint, c.LastGood)
	}
	// The other end has not left it yet.
	for second := range 3 {
		if c := pass(2+second, relayOne); c.Action.Endpoint.IsValid() || !c.IsBlind() || c.BlindRelay != (mesh.Key{101}) || c.LastGood == relayOne {
			t.Errorf("back at the relay, the peer is to have %v, by %v, last good %v", c.Action.Endpoint, c.BlindRelay, c.LastGood)
		}
	}
	if c := pass(6, two); c.Action.Endpoint.IsValid() || c.IsBlind() || c.LastGood != two {
		t.Errorf("elsewhere, the peer is to have %v, by %v, last good %v", c.Action.Endpoint, c.BlindRelay, c.LastGood)
	}
}

// TestPathsStayWhereNobodyLooks has a machine look for paths no more.
func TestPathsStayWhereNobodyLooks(t *testing.T) {
	var tracker Tracker
	list := specs(1)
	list[0].Registered, list[0].Probes = []mesh.Key{{101}}, true
	in := behindRelays(list)
	in.Probing, in.Paths = true, []mesh.Path{{Peer: mesh.Key{1}, Endpoint: one}}
	for second := range 5 {
		if second == 2 {
			in.Probing, in.Paths = false, nil
		}
		in.Observed = []Observed{upAt(1, one)}
		in.Observed[0].ReceiveBytes += int64(second)
		commit(t, &tracker, at(second), in)
		if c := tracker.Connections()[0]; second > 0 && c.Action.Endpoint.IsValid() {
			t.Errorf("second %d: the peer is to have %v", second, c.Action.Endpoint)
		}
	}
}

// TestPeersWithoutAgentAreTriedAtRelays has machines that register with no relay.
func TestPeersWithoutAgentAreTriedAtRelays(t *testing.T) {
	for _, c := range []struct {
		name         string
		withoutAgent bool
		registered   []BlindRelay
		probing      bool
		// want are the endpoints before those of relays, and relays how many of these follow.
		want   []netip.AddrPort
		relays int
	}{
		{"a Talos node", true, behindRelays(nil).Registered, false, []netip.AddrPort{one, two}, 2},
		{"a Talos node, while paths to others are looked for", true, behindRelays(nil).Registered, true, []netip.AddrPort{one, two}, 2},
		{"one relay has been lost", true, []BlindRelay{{Key: mesh.Key{101}, Endpoint: relayOne, Lost: true}, {Key: mesh.Key{102}, Endpoint: relayTwo}}, false,
			[]netip.AddrPort{one, two, relayTwo}, 1},
		{"this machine is registered with none", true, nil, false, []netip.AddrPort{one, two}, 0},
		{"a static peer, or one with an agent", false, behindRelays(nil).Registered, false, []netip.AddrPort{one, two}, 0},
	} {
		list := specs(1)
		list[0].WithoutAgent = c.withoutAgent
		in := behindRelays(list)
		in.Registered, in.Probing = c.registered, c.probing
		got, ready := in.candidates(netip.AddrPort{}, &list[0], mesh.Path{})
		if len(got) != len(c.want)+c.relays || !slices.Equal(got[:len(c.want)], c.want) || ready > 0 {
			t.Errorf("%s: the candidates are %v, %d of them ready", c.name, got, ready)
		}
	}
}

// TestPeerWithoutAgentCallsByARelay has a Talos node answer nowhere, and then call by a relay.
func TestPeerWithoutAgentCallsByARelay(t *testing.T) {
	var tracker Tracker
	list := specs(1)
	list[0].WithoutAgent = true
	in := behindRelays(list)
	tried := map[netip.AddrPort]bool{}
	second, endpoint := 0, netip.AddrPort{}
	for ; second < 60; second++ {
		in.Observed = []Observed{{Key: mesh.Key{1}, Present: true, Endpoint: endpoint, TransmitBytes: int64(148 * second)}}
		commit(t, &tracker, at(second), in)
		if e := tracker.Connections()[0].Action.Endpoint; e.IsValid() {
			endpoint, tried[e] = e, true
		}
	}
	if len(tried) != 4 || !tried[relayOne] || !tried[relayTwo] {
		t.Errorf("it was tried at %v", tried)
	}
	in.Observed = []Observed{upAt(1, relayTwo)}
	in.Observed[0].LastHandshake = at(second)
	commit(t, &tracker, at(second), in)
	if c := tracker.Connections()[0]; !c.IsUp() || c.BlindRelay != (mesh.Key{102}) || c.LastGood.IsValid() || c.Action.Endpoint.IsValid() {
		t.Errorf("once it has called, the connection is %+v", c)
	}
	if found := tracker.Connections().Harvest(at(second), in.Self, list); len(found) > 0 {
		t.Errorf("the relay's endpoint is published as that of %v", found)
	}
	// The relay is lost: the node tries the other by itself, and this end as well.
	in.Registered[1].Lost = true
	in.Observed[0].ReceiveBytes++
	commit(t, &tracker, at(second+1), in)
	if got := tracker.Connections()[0].Action.Endpoint; got != relayOne {
		t.Errorf("once the relay is lost, it is to have %v", got)
	}
}

// TestEndpointsOfRelaysAreNotThePeers has peers that list endpoints of relays, and that were reached there.
func TestEndpointsOfRelaysAreNotThePeers(t *testing.T) {
	for _, c := range []struct {
		name       string
		listed     []netip.AddrPort
		named      []netip.AddrPort
		registered bool
		lastGood   netip.AddrPort
		want       []netip.AddrPort
	}{
		{"named by the peer, which this machine does not know", []netip.AddrPort{one}, []netip.AddrPort{relayOne}, false, relayOne, []netip.AddrPort{one}},
		{"of a relay of this machine, which another peer has added", []netip.AddrPort{one, relayOne}, nil, true, relayOne, []netip.AddrPort{one}},
		{"nobody knows that it is a relay's", []netip.AddrPort{one, relayOne}, nil, false, netip.AddrPort{}, []netip.AddrPort{one, relayOne}},
		{"all are relays'", []netip.AddrPort{relayOne}, nil, true, relayOne, nil},
	} {
		list := specs(1)
		list[0].Endpoints, list[0].RelayEndpoints, list[0].Probes = c.listed, c.named, true
		in := behindRelays(list)
		if !c.registered {
			in.Registered, in.Relays = nil, nil
		}
		if got, _ := in.candidates(c.lastGood, &list[0], mesh.Path{}); !slices.Equal(got, c.want) {
			t.Errorf("%s: the candidates are %v, want %v", c.name, got, c.want)
		}
		var tracker Tracker
		in.Observed = []Observed{upAt(1, relayOne)}
		commit(t, &tracker, start, in)
		isTheirs := slices.Contains(c.named, relayOne) || c.registered
		if got := tracker.Connections()[0].LastGood; got.IsValid() == isTheirs {
			t.Errorf("%s: the last good endpoint is %v", c.name, got)
		}
		if found := tracker.Connections().Harvest(at(1), in.Self, list); len(found) > 0 {
			t.Errorf("%s: %v is harvested", c.name, found)
		}
	}
}

// TestFewMachinesAreTriedAtRelaysAtOnce has many machines without an agent, of which none answers.
func TestFewMachinesAreTriedAtRelaysAtOnce(t *testing.T) {
	var numbers []byte
	for i := range byte(2*maxGuesses + 5) {
		numbers = append(numbers, i)
	}
	list := specs(numbers...)
	for i := range list {
		list[i].WithoutAgent = true
	}
	in, tried := behindRelays(list), map[mesh.Key]bool{}
	var tracker Tracker
	endpoints := make([]netip.AddrPort, len(list))
	for second := range 3 * int(guessFor/time.Second) {
		in.Observed = nil
		for i := range list {
			in.Observed = append(in.Observed, Observed{Key: list[i].PublicKey, Present: true, Endpoint: endpoints[i], TransmitBytes: int64(148 * second)})
		}
		commit(t, &tracker, at(second), in)
		guesses := 0
		for i, c := range tracker.Connections() {
			if c.Action.Endpoint.IsValid() {
				endpoints[i] = c.Action.Endpoint
			}
			if !c.BlindRelay.IsZero() {
				guesses++
				tried[c.Key] = true
			}
		}
		// What is on trial when the turn ends goes on.
		if guesses > 2*maxGuesses {
			t.Fatalf("second %d: %d are tried at relays", second, guesses)
		}
	}
	if len(tried) < len(list) {
		t.Errorf("%d of %d were tried at relays", len(tried), len(list))
	}
}

// TestServiceClaimsThePeersEndpoint has a service say that its relay is where a peer is.
func TestServiceClaimsThePeersEndpoint(t *testing.T) {
	in := behindRelays(specs(1))
	in.Relays[0].Endpoints = []netip.AddrPort{relayOne, one}
	var tracker Tracker
	for i := range 4 {
		if i > 0 {
			in.Observed = []Observed{{Key: mesh.Key{1}, Present: true, Endpoint: one, LastHandshake: start.Add(time.Second), ReceiveBytes: int64(1000 * i)}}
		}
		next := tracker.Next(start.Add(time.Duration(2*i)*time.Second), in)
		if c := &next[0]; !c.BlindRelay.IsZero() || i > 0 && c.Action.Endpoint.IsValid() {
			t.Fatalf("step %d: the relay is %v, and WireGuard is to send to %v", i, c.BlindRelay, c.Action.Endpoint)
		}
		tracker.Commit(next, nil)
	}
	if next := tracker.Next(start.Add(10*time.Second), in); !next[0].IsUp() || next[0].LastGood != one {
		t.Errorf("the peer is up: %v, and its last good endpoint is %v", next[0].IsUp(), next[0].LastGood)
	}
}
