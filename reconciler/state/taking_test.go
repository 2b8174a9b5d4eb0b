package state_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/planprint"
	"github.com/spanmesh/span/reconciler/state"
)

// TestTakenNetworks gives networks to one peer that another carries, and keeps a network around.
func TestTakenNetworks(t *testing.T) {
	peers := func(first, second string) state.State {
		s := state.State{Link: state.Link{Name: "kubespan"}}
		for i, text := range []string{first, second} {
			p := state.Peer{PublicKey: mesh.Key{byte(i + 1)}, Label: []string{"router", "other"}[i]}
			for one := range strings.FieldsSeq(text) {
				p.AllowedIPs = append(p.AllowedIPs, netip.MustParsePrefix(one))
			}
			if text != "" {
				s.Peers = append(s.Peers, p)
			}
		}
		return s
	}
	const cut = "traffic with 10.1.0.0/16 through peer router"
	for _, c := range []struct {
		name          string
		live, desired [2]string
		want          []string
	}{
		{"a part, to a peer that is there", [2]string{"10.0.0.0/8", "10.9.9.9/32"}, [2]string{"10.0.0.0/8", "10.9.9.9/32 10.1.0.0/16"}, []string{cut}},
		{"a part, to a new peer", [2]string{"10.0.0.0/8", ""}, [2]string{"10.0.0.0/8", "10.1.0.0/16"}, []string{cut}},
		{"two parts", [2]string{"10.0.0.0/8", ""}, [2]string{"10.0.0.0/8", "10.1.0.0/16 10.2.0.0/16"}, []string{"traffic with 10.1.0.0/16, 10.2.0.0/16 through peer router"}},
		{"all of a network inside of another", [2]string{"10.0.0.0/8 10.1.0.0/16", ""}, [2]string{"10.0.0.0/8", "10.1.0.0/16"}, []string{cut}},
		{"a network that the other gives up", [2]string{"10.0.0.0/8 10.1.0.0/16", ""}, [2]string{"10.1.0.0/16", "10.0.0.0/8"},
			[]string{"traffic with 10.0.0.0/16, 10.2.0.0/15, 10.4.0.0/14, 10.8.0.0/13, 10.16.0.0/12, 10.32.0.0/11, 10.64.0.0/10, 10.128.0.0/9 through peer router"}},
		{"a network around the other's", [2]string{"10.1.0.0/16", ""}, [2]string{"10.1.0.0/16", "10.0.0.0/8"}, nil},
		{"a part that it had already", [2]string{"10.0.0.0/8", "10.1.0.0/16"}, [2]string{"10.0.0.0/8", "10.1.0.0/16 10.1.2.0/24"}, nil},
		{"another network", [2]string{"10.0.0.0/8", ""}, [2]string{"10.0.0.0/8", "192.168.0.0/16 fd00::/8"}, nil},
		{"the first peers", [2]string{"", ""}, [2]string{"10.0.0.0/8", "10.1.0.0/16"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			plan := state.Diff(peers(c.desired[0], c.desired[1]), peers(c.live[0], c.live[1]))
			if diff := cmp.Diff(c.want, planprint.Impact(plan.Impact())); diff != "" {
				t.Errorf("impact (-want +got):\n%s", diff)
			}
		})
	}
}
