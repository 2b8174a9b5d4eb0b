package netlinkapply_test

import (
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"github.com/spanmesh/span/netlinkapply/firewall"
)

// TestIngress reads chains of the kernel that see packets before they are counted.
func TestIngress(t *testing.T) {
	if found, err := firewall.Ingress(51820); err != nil || len(found) > 0 {
		t.Fatalf("without a chain: %v, %v", found, err)
	}
	conn := &nftables.Conn{}
	table := conn.AddTable(&nftables.Table{Name: "host", Family: nftables.TableFamilyNetdev})
	chain := conn.AddChain(&nftables.Chain{Table: table, Name: "in", Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookIngress,
		Priority: nftables.ChainPriorityRef(0), Device: "lo"})
	conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{17}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{0xca, 0x6c}},
		&expr.Counter{}, &expr.Verdict{Kind: expr.VerdictDrop},
	}})
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.DelTable(table)
		if err := conn.Flush(); err != nil {
			t.Error(err)
		}
	})
	for port, drops := range map[int]bool{51820: true, 51821: false} {
		if found, err := firewall.Ingress(port); err != nil || len(found) != 1 || found[0] != (firewall.IngressChain{Name: "netdev host in", Drops: drops}) {
			t.Errorf("of port %d: %+v, %v", port, found, err)
		}
	}
}
