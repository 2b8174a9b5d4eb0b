package lab_test

import (
	"context"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/spanmesh/span/e2e/lab"
)

func TestMain(m *testing.M) { os.Exit(lab.Main(nil, m.Run)) }

// TestWhatHasLeftTheNetworkEnds has a process leave the network namespace of its node, which it must not
// outlive: it keeps open what it has inherited.
func TestWhatHasLeftTheNetworkEnds(t *testing.T) {
	t.Parallel()
	l, err := lab.New("", "")
	if err != nil {
		t.Fatal(err)
	}
	n, err := l.AddNode("node")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	p, err := lab.Start(n.Command(ctx, "unshare", "-n", "sh", "-c", "echo ready; exec sleep 1000"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Await(ctx, 0, "ready"); err != nil {
		t.Error(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(ctx); ctx.Err() != nil {
		t.Errorf("it goes on: %v", err)
	}
}

// TestPart cuts two of four nodes off, one after the other, and joins them again.
func TestPart(t *testing.T) {
	t.Parallel()
	l, err := lab.NewOn("", "", netip.MustParsePrefix("172.21.1.0/24"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	var nodes []*lab.Node
	for _, name := range []string{"a", "b", "c", "d"} {
		n, err := l.AddNode(name)
		if err != nil {
			t.Fatal(err)
		}
		nodes = append(nodes, n)
	}
	// How long a node tries to reach one of its own side, and one of the other.
	const together, apart = time.Minute, 300 * time.Millisecond
	// reach expects that nodes with the same letter reach each other, and no others.
	reach := func(sides string) {
		t.Helper()
		for i, from := range nodes {
			for j, to := range nodes[:i] {
				limit := apart
				if sides[i] == sides[j] {
					limit = together
				}
				pings, err := from.PingFor(t.Context(), to.Address, limit)
				if err != nil {
					t.Fatal(err)
				}
				if got := pings.Received > 0; got != (sides[i] == sides[j]) {
					t.Errorf("%s: %s reaches %s: %v", sides, from.Name, to.Name, got)
				}
			}
		}
	}
	reach("1111")
	for _, step := range []struct {
		do    func() error
		sides string
	}{
		{func() error { return l.Part(nodes[1]) }, "1211"},
		{func() error { return l.Part(nodes[3], nodes[1]) }, "1212"},
		{l.Rejoin, "1111"},
		{l.Rejoin, "1111"},
		{func() error { return l.Part(nodes[0]) }, "2111"},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		reach(step.sides)
	}
}
