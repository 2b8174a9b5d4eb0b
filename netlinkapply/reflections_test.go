package netlinkapply_test

import (
	"errors"
	"io/fs"
	"net"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"github.com/spanmesh/span/netlinkapply/firewall"
	"github.com/spanmesh/span/reconciler/reflection"
	"github.com/spanmesh/span/reconciler/state"
)

// TestReflectionsAreCounted sends datagrams over loopback, through the firewall of this machine and
// without one.
func TestReflectionsAreCounted(t *testing.T) {
	if _, err := firewall.Reflections("kubespan", 51820); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a table: %v", err)
	}
	k := open(t)
	desired := state.Build(inputs(t, 1))
	t.Cleanup(func() { reach(t, k, state.State{}) })
	reach(t, k, desired)

	send := func(port int, datagram []byte) {
		t.Helper()
		conn, err := net.DialUDP("udp4", nil, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		if _, err := conn.Write(datagram); err != nil {
			t.Fatal(err)
		}
	}
	want := func(what string, want reflection.Counts) {
		t.Helper()
		if got, err := firewall.Reflections("kubespan", 51820); err != nil || got != want {
			t.Errorf("%s: counted %+v, %v, want %+v", what, got, err, want)
		}
	}
	ours := reflection.Datagram(reflection.Nonce{1}, 1)
	if _, err := firewall.Reflections("kubespan", 51821); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of another port: %v", err)
	}
	want("nothing was sent", reflection.Counts{})
	send(51820, ours)
	want("one", reflection.Counts{Arrived: 1, Accepted: 1})
	send(51821, ours)
	send(51820, ours[:7])
	send(51820, make([]byte, reflection.Size))
	want("others", reflection.Counts{Arrived: 1, Accepted: 1})

	conn := &nftables.Conn{}
	table := conn.AddTable(&nftables.Table{Name: "host", Family: nftables.TableFamilyIPv4})
	drop := nftables.ChainPolicyDrop
	conn.AddChain(&nftables.Chain{Table: table, Name: "input", Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookInput,
		Priority: nftables.ChainPriorityRef(100), Policy: &drop})
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.DelTable(table)
		if err := conn.Flush(); err != nil {
			t.Error(err)
		}
	})
	send(51820, ours)
	want("a firewall that drops what comes in", reflection.Counts{Arrived: 2, Accepted: 1})

	raw := conn.AddChain(&nftables.Chain{Table: table, Name: "raw", Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookPrerouting,
		Priority: nftables.ChainPriorityRef(-450)})
	conn.AddRule(&nftables.Rule{Table: table, Chain: raw, Exprs: []expr.Any{&expr.Verdict{Kind: expr.VerdictDrop}}})
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	send(51820, ours)
	want("one that drops before anything else", reflection.Counts{Arrived: 3, Accepted: 1})

	if plan := diff(t, k, desired); len(plan) > 0 {
		t.Errorf("what was counted is a difference:\n%s", text(plan))
	}
	desired.Firewall.Networks = nil
	desired.Firewall.Guard.Networks = nil
	reach(t, k, desired)
	want("after another change", reflection.Counts{Arrived: 3, Accepted: 1})
}
