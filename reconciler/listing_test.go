package reconciler

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/peer"
)

// choicesAt returns endpoints of one relay each, which are given by letters.
func choicesAt(letters string) (all []listedRelay) {
	for _, l := range letters {
		all = append(all, listedRelay{relay: mesh.Key{byte(l)}, at: endpointOf(l)})
	}
	return all
}

func endpointOf(letter rune) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(letter)}), 51821)
}

func TestRelaysAreListed(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	// step has the choices at a time, and the letters of what is listed and of what was withdrawn.
	type step struct {
		after                time.Duration
		choices              string
		listed, andWithdrawn string
	}
	for _, c := range []struct {
		name  string
		own   string
		steps []step
	}{
		{"no machine is without an agent", "x", []step{{0, "", "", ""}}},
		{"one relay", "x", []step{{0, "a", "a", ""}, {time.Hour, "a", "a", ""}}},
		{"more than there is room for", "x", []step{{0, "abc", "ab", ""}}},
		{"the same endpoint twice", "x", []step{{0, "aab", "ab", ""}}},
		{"a relay that says it is at an endpoint of the machine", "x", []step{{0, "xa", "a", ""}}},
		{"no room beside the machine's own", strings.Repeat("x", mesh.MaxEndpoints), []step{{0, "a", "", ""}}},
		{"room for one", strings.Repeat("x", mesh.MaxEndpoints-1), []step{{0, "ab", "a", ""}}},
		{"more endpoints of the machine than there is room for", strings.Repeat("x", mesh.MaxEndpoints+1), []step{{0, "a", "", ""}}},
		{"one is lost, and services keep it for some time", "x", []step{{0, "a", "a", ""}, {time.Minute, "", "", "a"},
			{keptFor - 1, "", "", "a"}, {1, "", "", ""}}},
		{"one comes back", "x", []step{{0, "ab", "ab", ""}, {time.Minute, "b", "b", "a"}, {time.Minute, "ab", "ab", ""}}},
		{"one after the other is lost", "x", []step{{0, "ab", "ab", ""}, {time.Minute, "cd", "cd", "ab"}, {time.Minute, "ef", "ef", "cd"},
			{keptFor, "ef", "ef", ""}}},
		{"the machine gets the endpoint of a relay", "a", []step{{0, "ab", "b", ""}}},
	} {
		var own []netip.AddrPort
		for _, l := range c.own {
			own = append(own, endpointOf(l))
		}
		var state []listedRelay
		now := start
		for _, s := range c.steps {
			now = now.Add(s.after)
			state = listRelays(now, own, choicesAt(s.choices), state)
			var listed, withdrawn string
			for _, l := range state {
				if letter := string(rune(l.at.Addr().As4()[3])); l.until.IsZero() {
					listed += letter
				} else {
					withdrawn += letter
				}
			}
			if listed != s.listed || withdrawn != s.andWithdrawn {
				t.Errorf("%s, after %v: listed %q and withdrawn %q, want %q and %q", c.name, now.Sub(start), listed, withdrawn, s.listed, s.andWithdrawn)
			}
		}
	}
}

func TestWhichEndpointsOfRelays(t *testing.T) {
	at := netip.MustParseAddrPort
	four, six, local := at("203.0.113.1:51821"), at("[2001:db8::1]:51821"), at("127.0.0.1:40000")
	other, private, public := at("203.0.113.2:51821"), at("10.0.0.3:51821"), at("203.0.113.3:51821")
	relays := []mesh.BlindRelay{
		{Key: mesh.Key{1}, Endpoints: []netip.AddrPort{four, six}, Local: local},
		{Key: mesh.Key{2}, Endpoints: []netip.AddrPort{other}},
		{Key: mesh.Key{3}, Endpoints: []netip.AddrPort{private, public}, Member: true},
	}
	by := func(key byte, e netip.AddrPort) peer.BlindRelay {
		return peer.BlindRelay{Key: mesh.Key{key}, Endpoint: e}
	}
	for _, c := range []struct {
		name       string
		registered []peer.BlindRelay
		before     []listedRelay
		want       []netip.AddrPort
	}{
		{"none", nil, nil, nil},
		{"where it has answered", []peer.BlindRelay{by(1, four)}, nil, []netip.AddrPort{four}},
		{"of the other IP version", []peer.BlindRelay{by(1, six)}, nil, []netip.AddrPort{six}},
		{"that is listed stays", []peer.BlindRelay{by(1, six)}, []listedRelay{{relay: mesh.Key{1}, at: four}}, []netip.AddrPort{four}},
		{"unless it was withdrawn", []peer.BlindRelay{by(1, six)}, []listedRelay{{relay: mesh.Key{1}, at: four, until: time.Unix(1, 0)}}, []netip.AddrPort{six}},
		{"or is another's", []peer.BlindRelay{by(1, six)}, []listedRelay{{relay: mesh.Key{1}, at: other}}, []netip.AddrPort{six}},
		{"over TCP, one of UDP", []peer.BlindRelay{by(1, local)}, nil, []netip.AddrPort{four}},
		{"one of each", []peer.BlindRelay{by(1, four), by(2, other)}, nil, []netip.AddrPort{four, other}},
		{"of a member, where it has answered", []peer.BlindRelay{by(3, public)}, nil, []netip.AddrPort{public}},
		{"of a member, also where it is not listed", []peer.BlindRelay{by(3, private)}, []listedRelay{{relay: mesh.Key{3}, at: public}}, []netip.AddrPort{private}},
		{"one that is not known any more", []peer.BlindRelay{by(9, four)}, nil, nil},
	} {
		var got []netip.AddrPort
		for _, l := range relayChoices(c.registered, relays, c.before) {
			got = append(got, l.at)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// TestRelaysAreNotProbed has a peer at an endpoint that it has named as a relay's.
func TestRelaysAreNotProbed(t *testing.T) {
	relay, own := endpointOf('a'), endpointOf('b')
	for _, at := range []netip.AddrPort{relay, own} {
		p := &Pass{peers: peer.Connections{{Key: mesh.Key{1}, Status: peer.Status{Endpoint: at}}}}
		p.specs = mesh.PeerSpecs([]*mesh.Affiliate{{KubeSpan: mesh.KubeSpan{PublicKey: mesh.Key{1}, Probes: true,
			Endpoints: []netip.AddrPort{own, relay}, RelayEndpoints: []netip.AddrPort{relay}}}})
		var e Engine
		e.probe(p, 0)
		if got := e.probing.Peers[0]; got.Relayed != (at == relay) || !slices.Equal(got.Endpoints, []netip.AddrPort{own}) {
			t.Errorf("at %v: %+v", at, got)
		}
	}
}
