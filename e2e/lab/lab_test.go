package lab_test

import (
	"context"
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
