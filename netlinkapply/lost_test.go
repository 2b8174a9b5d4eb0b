package netlinkapply_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/spanmesh/span/netlinkapply"
	"github.com/spanmesh/span/netlinkapply/userspace"
	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/state"
)

// TestControlSocketIsLost has the socket of the userspace process moved away: the process goes on, and
// no agent can reach it, neither one that knows the link nor one that was started since.
func TestControlSocketIsLost(t *testing.T) {
	start := func(ctx context.Context, link string) error {
		return userspace.Start(ctx, []string{"/proc/self/exe", userspace.Command, link})
	}
	openUserspace := func() *netlinkapply.Kernel {
		t.Helper()
		k, err := netlinkapply.Open(netlinkapply.InUserspace, start)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(k.Close)
		return k
	}
	k, desired := openUserspace(), state.Build(inputs(t, 2))
	t.Cleanup(func() { reach(t, k, state.State{}) })
	reach(t, k, desired)
	const socket = "/var/run/wireguard/kubespan.sock"
	if err := os.Rename(socket, socket+".away"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(socket + ".away") })
	restarted := openUserspace()
	for name, k := range map[string]*netlinkapply.Kernel{"the same": k, "one started since": restarted} {
		_, err := k.Observe(scopeOf(t))
		var failed *condition.Error
		if !errors.As(err, &failed) || failed.Code != condition.WireGuardUnresponsive ||
			!strings.Contains(failed.Cause, fmt.Sprintf("cannot be reached: its control socket %s was removed", socket)) || !strings.Contains(failed.Remedy, "kill -KILL ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if where := netlinkapply.WireguardOf("kubespan"); where != netlinkapply.InUserspace {
		t.Errorf("WireGuard runs in %q", where)
	}
	if err := restarted.Restart(t.Context(), scopeOf(t)); err != nil {
		t.Fatal(err)
	}
	reach(t, restarted, desired)
	if _, peers, err := restarted.Device(scopeOf(t)); err != nil || len(peers) != 2 {
		t.Errorf("after the restart there are %d peers, %v", len(peers), err)
	}
}
