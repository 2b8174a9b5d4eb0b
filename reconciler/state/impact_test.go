package state_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/planprint"
	"github.com/spanmesh/span/reconciler/state"
)

// networks are n networks of one address each.
func networks(n int) []netip.Prefix {
	var list []netip.Prefix
	for i := range n {
		list = append(list, netip.MustParsePrefix(fmt.Sprintf("10.0.0.%d/32", i)))
	}
	return list
}

func TestImpact(t *testing.T) {
	peer := func(change func(*state.Peer)) state.Peer {
		p := state.Peer{PublicKey: mesh.Key{1}, Label: "node-2", AllowedIPs: networks(2)}
		change(&p)
		return p
	}
	node := peer(func(*state.Peer) {})
	link := state.Link{Name: "kubespan", ListenPort: 1, PrivateKey: mesh.SecretKey([32]byte{1})}
	relinked := func(change func(*state.Link)) state.Change {
		l := link
		change(&l)
		return state.LinkChange{Old: link, New: l}
	}
	allowed := func(before, after []netip.Prefix) state.Change {
		return state.PeerChange{Old: peer(func(p *state.Peer) { p.AllowedIPs = before }), New: peer(func(p *state.Peer) { p.AllowedIPs = after })}
	}
	address := state.Address{Prefix: netip.MustParsePrefix("fd00::1/64")}
	route := state.Route{Family: state.IPv4, Destination: netip.MustParsePrefix("0.0.0.0/0")}
	rule := state.Rule{Family: state.IPv4, Mark: 1}
	wide := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}
	for _, c := range []struct {
		name string
		plan state.Plan
		want []string
	}{
		{"an empty plan", nil, nil},
		{"new objects", state.Plan{state.LinkChange{New: link}, state.PeerChange{New: node}, state.AddressChange{New: address}}, nil},
		{"changes without an interruption", state.Plan{
			relinked(func(l *state.Link) { l.MTU = 1300 }),
			state.PeerChange{Old: node, New: peer(func(p *state.Peer) { p.Endpoint = netip.MustParseAddrPort("192.0.2.1:1") })},
			allowed(networks(1), networks(2)),
			allowed(networks(9), wide),
		}, nil},
		{"the whole mesh", state.Plan{state.RouteChange{Old: route}, state.LinkChange{Old: link}, state.PeerChange{Old: node}},
			[]string{"all traffic through the mesh: link kubespan is removed"}},
		{"another link", state.Plan{state.LinkChange{Old: link}, state.LinkChange{New: state.Link{Name: "wg"}}, state.RouteChange{Old: route}, state.RouteChange{New: route}},
			[]string{"all tunnels until their next handshake: link kubespan is replaced"}},
		{"another port", state.Plan{relinked(func(l *state.Link) { l.ListenPort = 2 })},
			[]string{"all tunnels for a moment: peers learn the new listen port from the next packet"}},
		{"another private key", state.Plan{relinked(func(l *state.Link) { l.PrivateKey = mesh.SecretKey([32]byte{2, 2}) })},
			[]string{"all tunnels until the peers have the new public key: the private key changes"}},
		{"a peer", state.Plan{state.PeerChange{Old: node}}, []string{"all traffic with peer node-2: the peer is removed"}},
		{"a preshared key", state.Plan{state.PeerChange{Old: node, New: peer(func(p *state.Peer) { p.PresharedKey = mesh.SecretKey([32]byte{1}) })}},
			[]string{"all traffic with peer node-2 until it has the same preshared key"}},
		{"one of two networks", state.Plan{allowed(networks(2), networks(1))}, []string{"traffic with 10.0.0.1/32 through peer node-2"}},
		// Lists of more than eight networks are shortened in text.
		{"the last of nine networks", state.Plan{allowed(networks(9), networks(8))}, []string{"traffic with 10.0.0.8/32 through peer node-2"}},
		{"part of a network", state.Plan{allowed(wide, networks(9))}, []string{"traffic with 10.0.0.9/32, 10.0.0.10/31, 10.0.0.12/30, 10.0.0.16/28, 10.0.0.32/27, 10.0.0.64/26, 10.0.0.128/25 through peer node-2"}},
		{"half of a network", state.Plan{allowed(wide, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/25")})},
			[]string{"traffic with 10.0.0.128/25 through peer node-2"}},
		{"nine of ten networks", state.Plan{allowed(networks(10), networks(1))},
			[]string{"traffic with 10.0.0.1/32, 10.0.0.2/31, 10.0.0.4/30, 10.0.0.8/31 through peer node-2"}},
		{"address, route, rule and table", state.Plan{state.AddressChange{Old: address}, state.RouteChange{Old: route}, state.RuleChange{Old: rule},
			state.FirewallChange{Old: state.Firewall{Table: "spanctl"}}},
			[]string{"connections from and to fd00::1: the address is removed", "traffic to 0.0.0.0/0 through the mesh: the route is removed",
				"all ipv4 traffic through the mesh: the rule is removed", "all traffic through the mesh: the nftables table spanctl is removed"}},
		{"a rule that is replaced", state.Plan{state.RuleChange{Old: rule}, state.RuleChange{New: state.Rule{Family: state.IPv4, Mark: 2}}}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, planprint.Impact(c.plan.Impact())); diff != "" {
				t.Errorf("impact (-want +got):\n%s", diff)
			}
		})
	}
}

func TestResetsDevice(t *testing.T) {
	link := state.Link{Name: "kubespan", MTU: 1420, ListenPort: 1, PrivateKey: mesh.SecretKey([32]byte{1}), Up: true}
	for _, c := range []struct {
		name   string
		change func(*state.Link)
		want   bool
	}{
		{"nothing", func(*state.Link) {}, false},
		{"the MTU", func(l *state.Link) { l.MTU = 1400 }, false},
		{"the listen port", func(l *state.Link) { l.ListenPort = 2 }, true},
		{"the private key", func(l *state.Link) { l.PrivateKey = mesh.SecretKey([32]byte{2, 2}) }, true},
		{"the same private key, clamped", func(l *state.Link) { l.PrivateKey = mesh.SecretKey([32]byte{0, 31: 64}) }, false},
		{"the firewall mark", func(l *state.Link) { l.FirewallMark = 1 }, true},
		{"a link that is set up", func(l *state.Link) { l.Up = false }, true},
	} {
		before := link
		c.change(&before)
		if got := (state.LinkChange{Old: before, New: link}).ResetsDevice(); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	if (state.LinkChange{New: link}).ResetsDevice() {
		t.Error("a new link resets no device")
	}
}
