package health

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/peer"
)

// cold is a peer that was never reached, an hour after it was first seen.
func cold(name string) Peer {
	return Peer{Name: name, Endpoints: []netip.AddrPort{netip.MustParseAddrPort("10.0.0.9:51820")}, FirstSeen: start.Add(-time.Hour),
		Contact: peer.Contact{SentBytes: 27 * 148, Initiations: 27, Exhausted: true}}
}

// lost is a peer that was up until some time ago.
func lost(name string, ago time.Duration) Peer {
	p := cold(name)
	p.WasUp, p.HeardAt, p.LastUp = true, start.Add(-ago), start.Add(-ago)
	return p
}

// calling is a peer "a" whose calls arrive.
func calling(calls int, ago time.Duration) Peer {
	p := cold("a")
	p.Contact.Calls, p.Contact.LastCall = calls, start.Add(-ago)
	return p
}

func with(p Peer, change func(*Peer)) Peer {
	change(&p)
	return p
}

func TestPeers(t *testing.T) {
	second := func(p *Peer) { p.Endpoints = append(p.Endpoints, netip.MustParseAddrPort("192.0.2.1:4500")) }
	mute := func(p *Peer) { p.Contact.SentBytes, p.Contact.Initiations = 0, 0 }
	flaps := func(p *Peer) {
		p.Up, p.Downs = true, nil
		for i := range flapDowns {
			p.Downs = append(p.Downs, start.Add(time.Duration(i-6)*time.Minute))
		}
	}
	for _, test := range []struct {
		name  string
		peers Peers
		want  []string
	}{
		{"no peer", Peers{}, nil},
		{"all are up", Peers{Up: 3}, nil},

		{"blocked here", Peers{Notable: []Peer{cold("a"), cold("b")}}, []string{
			"UDPBlocked: 54 handshakes sent to 2 peers, nothing came: open UDP 51820 here and on the router; check that a and b run",
			"PeerUnreachable a: 27 handshakes sent to 1 endpoint of a (10.0.0.9:51820), nothing came: open UDP 51820 at a, or here",
			"PeerUnreachable b: 27 handshakes sent to 1 endpoint of b (10.0.0.9:51820), nothing came: open UDP 51820 at b, or here"}},
		{"blocked here or at the only peer", Peers{Notable: []Peer{cold("a")}}, []string{
			"UDPBlocked: 27 handshakes sent to a, the only peer, nothing came: open UDP 51820 here and on the router; check that a runs and takes UDP 51820",
			"PeerUnreachable a: 27 handshakes"}},
		{"nothing leaves", Peers{Notable: []Peer{with(cold("a"), mute), with(cold("b"), mute)}}, []string{
			"UDPBlocked: nothing could be sent to 2 peers, nothing came: check the routes and the firewall here: nothing leaves from UDP 51820",
			"PeerUnreachable a: nothing", "PeerUnreachable b: nothing"}},
		{"all fell silent at once", Peers{Notable: []Peer{lost("a", 5*time.Minute), lost("b", 5*time.Minute-20*time.Second), cold("c")}}, []string{
			"UDPBlocked: 81 handshakes sent to 3 peers, nothing came since 2026-11-28T08:55:20Z: open UDP 51820 here and on the router",
			"PeerDown a", "PeerDown b", "PeerUnreachable c"}},
		{"all were up before the agent was restarted", Peers{Notable: []Peer{
			with(lost("a", time.Hour), func(p *Peer) { p.HeardAt = time.Time{} }), with(lost("b", 3*time.Minute), func(p *Peer) { p.HeardAt = time.Time{} })}},
			[]string{"UDPBlocked: 54", "PeerDown a", "PeerDown b"}},
		{"a second peer joins while one is silent", Peers{Notable: []Peer{cold("a"), with(cold("b"), func(p *Peer) { p.FirstSeen = start })}},
			[]string{"UDPBlocked: 27", "PeerUnreachable a"}},
		{"peers fell silent one after another", Peers{Notable: []Peer{lost("a", time.Hour), lost("b", 5*time.Minute)}}, []string{
			"PeerDown a: silent since 2026-11-28T08:00:00Z; 27 handshakes sent since: check that a runs and has its network",
			"PeerDown b: silent since 2026-11-28T08:55:00Z"}},
		{"two laptops are shut within a minute", Peers{Notable: []Peer{lost("a", 5*time.Minute), lost("b", 5*time.Minute-40*time.Second)}}, []string{
			"PeerDown a: silent since", "PeerDown b: silent since"}},
		{"two are switched off at once, or blocked here", Peers{Notable: []Peer{lost("a", 5*time.Minute), lost("b", 5*time.Minute-10*time.Second)}}, []string{
			"UDPBlocked: 54 handshakes sent to 2 peers, nothing came since 2026-11-28T08:55:10Z: open UDP 51820 here and on the router; check that a and b run",
			"PeerDown a", "PeerDown b"}},
		{"one was off for days when the others fell silent at once", Peers{Notable: []Peer{lost("a", 50*time.Hour), lost("b", 5*time.Minute), lost("c", 5*time.Minute-10*time.Second)}}, []string{
			"UDPBlocked: 81", "PeerDown a", "PeerDown b", "PeerDown c"}},
		{"peers that send when asked fell silent", Peers{AtRest: true, Notable: []Peer{lost("a", 7*time.Minute), lost("b", 5*time.Minute)}}, []string{
			"UDPBlocked: 54", "PeerDown a", "PeerDown b"}},
		{"the only peer was switched off", Peers{Notable: []Peer{lost("a", time.Hour)}}, []string{"PeerDown a"}},
		{"the only peer that was up was switched off", Peers{Notable: []Peer{lost("a", time.Hour), cold("b")}}, []string{
			"PeerDown a", "PeerUnreachable b: 27 handshakes sent to 1 endpoint of b (10.0.0.9:51820), nothing came: open UDP 51820 at b, or here"}},

		{"blocked at a peer", Peers{Up: 1, Notable: []Peer{with(cold("a"), second)}}, []string{
			"PeerUnreachable a: 27 handshakes sent to 2 endpoints of a (10.0.0.9:51820, 192.0.2.1:4500), nothing came; others answer: open UDP 51820, 4500 at a"}},
		{"no way to a peer", Peers{Up: 1, Notable: []Peer{with(cold("a"), mute)}}, []string{
			"PeerUnreachable a: nothing could be sent to 1 endpoint of a (10.0.0.9:51820), nothing came; others answer: check the routes and the firewall here to the endpoints of a"}},
		{"many handshakes", Peers{Up: 1, Notable: []Peer{with(cold("a"), func(p *Peer) { p.Contact.Initiations = 5437 })}}, []string{
			"PeerUnreachable a: over 5400 handshakes sent"}},
		{"was up, is down", Peers{Up: 1, Notable: []Peer{lost("a", time.Hour)}}, []string{"PeerDown a: silent since 2026-11-28T08:00:00Z"}},
		{"a peer is down, and carried", Peers{Up: 2, Notable: []Peer{with(lost("a", time.Hour), func(p *Peer) { p.Relay = "r" })}}, []string{
			"Relayed a: no endpoint of a answers; its traffic goes through r: none; for a direct path, open a UDP port at a or here"}},
		{"one way", Peers{Notable: []Peer{calling(7, 5*time.Second)}}, []string{
			"OneWayTraffic a: a calls (7 handshakes came), and does not hear the answers: let the firewall of a take UDP from here"}},
		{"one way, with a preshared key", Peers{Up: 1, Notable: []Peer{with(calling(7, 5*time.Second), func(p *Peer) { p.OwnKey = true })}}, []string{
			"OneWayTraffic a: a calls (7 handshakes came), and does not hear the answers: let the firewall of a take UDP from here, and the firewall and the routes here pass it, or give both the same presharedKey"}},
		{"one way, without endpoints", Peers{Notable: []Peer{with(calling(7, 5*time.Second), func(p *Peer) { p.Endpoints = nil })}}, []string{"OneWayTraffic a"}},
		{"nothing that leaves arrives", Peers{Notable: []Peer{calling(7, 5*time.Second), with(calling(30, time.Second), func(p *Peer) { p.Name = "b" })}}, []string{
			"OneWayTraffic a", "OneWayTraffic b",
			"UDPBlocked: all 2 peers call (37 handshakes came), and none hears the answers: let the firewall here and the router pass UDP that leaves from port 51820"}},
		{"two do not hear, and a third may", Peers{Notable: []Peer{calling(7, 5*time.Second), with(calling(30, time.Second), func(p *Peer) { p.Name = "b" }),
			with(cold("c"), func(p *Peer) { p.Contact.Exhausted = false })}}, []string{"OneWayTraffic a", "OneWayTraffic b"}},
		{"a call shows that nothing is blocked here", Peers{Notable: []Peer{calling(1, 5*time.Second), cold("b")}}, []string{"PeerUnreachable b"}},
		{"the calls have ended", Peers{Up: 1, Notable: []Peer{calling(7, 2*time.Minute)}}, []string{"PeerUnreachable a"}},
		{"up, and down again and again", Peers{Up: 1, Notable: []Peer{with(cold("a"), flaps)}}, []string{
			"PeerFlapping a: went down 5 times since 2026-11-28T08:54:00Z, the last time at 2026-11-28T08:58:00Z: check the network"}},
		{"packets are lost", Peers{Up: 1, Notable: []Peer{{Name: "a", Up: true, Lossy: true, Loss: 57}}}, []string{
			"PacketLoss a: 50% or more of the echoes to a have no answer: look for loss between the endpoint of a and this machine"}},
		{"the firewall here drops echoes", Peers{Up: 2, Link: "kubespan", Filtered: []string{"b", "a"}, Notable: []Peer{{Name: "a", Up: true, Lossy: true, Loss: 57}}}, []string{
			"TunnelFiltered: this machine's firewall drops the echoes to a and b before they enter kubespan: let its output chains pass what leaves by kubespan"}},
		{"calls after it was down often", Peers{Up: 1, Notable: []Peer{with(calling(7, 5*time.Second), func(p *Peer) {
			flaps(p)
			p.Up = false
		})}}, []string{"OneWayTraffic a"}},
		{"calls, and nothing leaves for it", Peers{Up: 1, Notable: []Peer{with(calling(7, 5*time.Second), mute)}}, []string{
			"OneWayTraffic a: a calls (7 handshakes came), and does not hear the answers; nothing leaves for it: " +
				"check the firewall and the routes here to the endpoints of a: 10.0.0.9:51820"}},

		{"was down often, long ago", Peers{Up: 1, Notable: []Peer{with(cold("a"), func(p *Peer) {
			flaps(p)
			p.Downs[0] = start.Add(-flapWindow)
		})}}, nil},
		{"a peer has just joined", Peers{Up: 1, Notable: []Peer{with(cold("a"), func(p *Peer) { p.FirstSeen = start.Add(-29 * time.Second) })}}, nil},
		{"the only peer has just joined", Peers{Notable: []Peer{with(cold("a"), func(p *Peer) { p.FirstSeen = start.Add(-29 * time.Second) })}}, nil},
		{"endpoints are left to try", Peers{Up: 1, Notable: []Peer{with(cold("a"), func(p *Peer) { p.Contact.Exhausted = false })}}, nil},
		{"a peer without endpoints, which calls when it likes", Peers{Notable: []Peer{with(lost("a", time.Hour), func(p *Peer) { p.Endpoints = nil })}}, nil},
		{"at rest without keepalives", Peers{AtRest: true, Notable: []Peer{with(cold("a"), mute), with(lost("b", time.Hour), mute)}}, nil},
		{"without keepalives, and called", Peers{AtRest: true, Up: 1, Notable: []Peer{cold("a")}}, []string{"PeerUnreachable a"}},
		{"initiations cross", Peers{Up: 1, Notable: []Peer{calling(2, time.Second)}}, nil},
	} {
		test.peers.Port = 51820
		found := judgePeers(start, &Snapshot{Peers: test.peers})
		if !slices.EqualFunc(found, test.want, func(c condition.Condition, want string) bool { return strings.HasPrefix(c.String(), want) }) {
			t.Errorf("%s:\n got %q\nwant %q", test.name, found, test.want)
		}
	}
}

// TestSymmetricNAT has a machine and a peer that was never reached, behind NATs of each kind.
func TestSymmetricNAT(t *testing.T) {
	endpoints := func(text string) (all []netip.AddrPort) {
		for _, word := range strings.Fields(text) {
			all = append(all, netip.MustParseAddrPort(word))
		}
		return all
	}
	const here, there = "192.168.1.5:51820 203.0.113.9:51820 ", "192.168.2.5:51820 198.51.100.1:51820 "
	const symmetric = "SymmetricNAT a: 27 handshakes sent to 4 endpoints of a (192.168.2.5:51820, 198.51.100.1:51820, 198.51.100.1:3000, …), nothing came; others answer; " +
		"by the endpoints that machines have published, neither end keeps its port: the NAT at 203.0.113.9 gives this machine another for each peer, and that at 198.51.100.1 gives a another: " +
		"give a discovery server --relay, or set relay.offer on a third machine that both reach; or forward a UDP port at one of both; if a firewall is the cause, open UDP 51820, 3000, 4000 at a"
	relayed := with(cold("b"), func(p *Peer) { p.Relay = "r" })
	perPeerHere, perPeerThere := here+"203.0.113.9:1000 203.0.113.9:2000", there+"198.51.100.1:3000 198.51.100.1:4000"
	for _, test := range []struct {
		name        string
		here, there string
		up          int
		peer        Peer
		others      []Peer
		want        string
	}{
		{"both", perPeerHere, perPeerThere, 2, cold("a"), nil, symmetric},
		{"both, beside a relayed peer", perPeerHere, perPeerThere, 3, cold("a"), []Peer{relayed}, symmetric},
		{"the peer alone", here + "203.0.113.9:1000", perPeerThere, 2, cold("a"), nil, "PeerUnreachable a"},
		{"this machine alone", perPeerHere, there + "198.51.100.1:3000", 2, cold("a"), nil, "PeerUnreachable a"},
		{"nobody has told", here, there, 2, cold("a"), nil, "PeerUnreachable a"},
		{"endpoints that nobody can have seen", perPeerHere, perPeerThere, 0, cold("a"), nil, "PeerUnreachable a"},
		{"endpoints that one member can have published", perPeerHere, perPeerThere, 1, cold("a"), nil, "PeerUnreachable a"},
		{"one that is reached, and a relayed peer", perPeerHere, perPeerThere, 2, cold("a"), []Peer{relayed}, "PeerUnreachable a"},
		{"nothing leaves this machine", perPeerHere, perPeerThere, 2, with(cold("a"), func(p *Peer) { p.Contact.SentBytes, p.Contact.Initiations = 0, 0 }), nil, "PeerUnreachable a"},
		{"a peer that was up", perPeerHere, perPeerThere, 2, lost("a", time.Hour), nil, "PeerDown a"},
		{"a relay", perPeerHere, perPeerThere, 2, with(cold("a"), func(p *Peer) { p.Relay = "r" }), nil, "Relayed a"},
	} {
		test.peer.Endpoints = endpoints(test.there)
		// Two services know half of it each.
		listed := endpoints(test.here)
		s := Snapshot{Sessions: []Session{{Listed: listed[:2]}, {Listed: listed[1:]}},
			Peers: Peers{Up: test.up, Port: 51820, Announced: endpoints(here), Notable: append([]Peer{test.peer}, test.others...)}}
		mapped := s
		mapped.Outside.Router = []mesh.PortMapping{{Endpoint: netip.MustParseAddrPort("203.0.113.9:40001")}}
		if found := judgePeers(start, &mapped); slices.ContainsFunc(found, func(c condition.Condition) bool { return c.Code == condition.SymmetricNAT }) {
			t.Errorf("%s, and the router maps the port: %q", test.name, found)
		}
		behind := s
		behind.Outside.Router = []mesh.PortMapping{{Endpoint: netip.MustParseAddrPort("100.64.7.9:40001")}}
		for _, seen := range []*Snapshot{&s, &behind} {
			found := judgePeers(start, seen)
			found = slices.DeleteFunc(found, func(c condition.Condition) bool { return c.Subject == "b" || c.Code == condition.UDPBlocked })
			if len(found) != 1 || !strings.HasPrefix(found[0].String(), test.want) {
				t.Errorf("%s:\n got %q\nwant %q", test.name, found, test.want)
			}
		}
	}
}

// TestWakingMachine has a machine that was suspended for hours: its peers answer again within
// seconds.
func TestWakingMachine(t *testing.T) {
	s := Snapshot{Started: start.Add(-24 * time.Hour), Converged: true, Peers: Peers{Port: 51820, Notable: []Peer{lost("a", 8*time.Hour), lost("b", 8*time.Hour)}}}
	conditions := Assess(start, s, nil)
	s.Peers.Up, s.Peers.Notable = 1, s.Peers.Notable[1:]
	conditions = Assess(start.Add(6*time.Second), s, conditions)
	if got := codes(conditions); len(got) > 0 {
		t.Errorf("shown are %v", got)
	}
	s.Peers.Notable = nil
	if conditions = Assess(start.Add(time.Hour), s, conditions); len(conditions) > 0 {
		t.Errorf("left is %v", conditions)
	}
}

// TestBlockedMachineIsOneCondition has both peers fall silent.
func TestBlockedMachineIsOneCondition(t *testing.T) {
	s := Snapshot{Started: start.Add(-24 * time.Hour), Converged: true, Peers: Peers{Port: 51820, Notable: []Peer{lost("a", 0), lost("b", 0)}}}
	conditions := Assess(start, s, nil)
	conditions = Assess(start.Add(time.Minute), s, conditions)
	if got := codes(conditions); !slices.Equal(got, []condition.Code{condition.UDPBlocked}) {
		t.Errorf("shown are %v", got)
	}
	if r := Summarize(start.Add(time.Minute), s, conditions); r.State != Broken || r.Ready {
		t.Errorf("the machine is %s, ready is %v", r.State, r.Ready)
	}
}
