package mesh

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFilter(t *testing.T) {
	self := Identity{NodeID: "node-5", PublicKey: Key{5}, Subnet: netip.MustParsePrefix("fd00::/64"), Address: netip.MustParsePrefix("fd00::5/128")}
	own := peer(5, nil)
	impostor := peer(5, nil)
	impostor.NodeID, impostor.KubeSpan.Address = "impostor", netip.MustParseAddr("fd00::99")
	clone := peer(6, nil)
	clone.KubeSpan.Address = self.Address.Addr()
	outside := peer(7, nil)
	outside.KubeSpan.Address = netip.MustParseAddr("fd01::7")
	again := peer(1, nil)
	again.NodeID, again.KubeSpan.Address = "node-8", netip.MustParseAddr("fd00::8")
	twin := peer(9, nil)
	twin.KubeSpan.Address = peer(1, nil).KubeSpan.Address
	plain := &Affiliate{NodeID: "plain"}
	all := []*Affiliate{again, twin, plain, outside, clone, impostor, own, peer(1, nil), peer(2, nil)}
	good, refused := Filter(self, all, Present{})
	want := map[string]string{
		"impostor": "claims this machine's public key",
		"node-6":   "claims this machine's address fd00::5: do both have the same MAC?",
		"node-7":   "claims the address fd01::7, which is not in the cluster's fd00::/64",
		"node-8":   "repeats the public key of node-1",
	}
	if diff := cmp.Diff(want, refused); diff != "" {
		t.Errorf("refused (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]*Affiliate{twin, plain, own, peer(1, nil), peer(2, nil)}, good, compare); diff != "" {
		t.Errorf("good (-want +got):\n%s", diff)
	}
}
