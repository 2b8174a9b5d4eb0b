package state

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spanmesh/span/reconciler/mesh"
)

func TestCuts(t *testing.T) {
	peer := Peer{PublicKey: mesh.Key{1}, Label: "node-2"}
	link := Link{Name: "kubespan"}
	address := Address{Prefix: netip.MustParsePrefix("fd00::1/64")}
	route := Route{Destination: netip.MustParsePrefix("0.0.0.0/0")}
	for _, c := range []struct {
		name string
		plan Plan
		want []string
	}{
		{"nothing", nil, nil},
		{"what is new", Plan{{Create, link, nil}, {Create, peer, []Field{set("presharedKey", "(hidden)")}}, {Create, address, nil}}, nil},
		{"what changes without notice", Plan{{Update, link, []Field{set("mtu", "1300")}}, {Update, peer, []Field{set("endpoint", "192.0.2.1:1")}},
			{Update, peer, []Field{differs("allowedIPs", "10.0.0.1/32", "10.0.0.1/32 10.0.0.2/32")}}}, nil},
		{"the whole mesh", Plan{{Delete, route, nil}, {Delete, link, nil}, {Delete, peer, nil}}, []string{"all traffic through the mesh: link kubespan is removed"}},
		{"another link", Plan{{Delete, link, nil}, {Create, Link{Name: "wg"}, nil}, {Delete, route, nil}, {Create, route, nil}},
			[]string{"all tunnels: link kubespan is made anew, each needs a handshake"}},
		{"another port and key", Plan{{Update, link, []Field{set("listenPort", "1")}}, {Update, link, []Field{set("privateKey", "(hidden)")}}}, []string{
			"all tunnels for a moment: the peers hear of the new port by the next packet",
			"all tunnels, until the peers know the new key: each needs a handshake"}},
		{"a peer and some of its networks", Plan{{Delete, peer, nil}, {Update, peer, []Field{set("presharedKey", "(hidden)")}},
			{Update, peer, []Field{differs("allowedIPs", "10.0.0.1/32 10.0.0.2/32", "10.0.0.3/32 10.0.0.1/32")}}}, []string{
			"all traffic with peer node-2: it is removed", "traffic with peer node-2, until it has the new preshared key too",
			"traffic with 10.0.0.2/32 through peer node-2"}},
		{"what leads into it", Plan{{Delete, address, nil}, {Delete, route, nil}, {Delete, Rule{Family: IPv4}, nil}, {Delete, Firewall{Table: "spanctl"}, nil}},
			[]string{"connections from and to fd00::1: the address is removed", "what the tunnel carries to 0.0.0.0/0: the route is removed",
				"all ipv4 traffic through the mesh: the rule is removed", "all traffic through the mesh: nftables spanctl is removed"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, c.plan.Cuts()); diff != "" {
				t.Errorf("cuts (-want +got):\n%s", diff)
			}
		})
	}
}
