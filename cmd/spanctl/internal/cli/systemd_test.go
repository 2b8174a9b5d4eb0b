package cli

import (
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/health"
)

// TestSupervisorIsTold has a socket in the place of systemd's.
func TestSupervisorIsTold(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	var config net.ListenConfig
	socket, err := config.ListenPacket(context.WithoutCancel(t.Context()), "unixgram", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = socket.Close() }()
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", "90000000")
	s := newSupervisor(slog.New(slog.DiscardHandler))

	start := time.Date(2026, 11, 28, 9, 0, 0, 0, time.UTC)
	unreachable := health.Condition{Condition: condition.Condition{Code: condition.PeerUnreachable, Subject: "db2"}}
	plain := health.Condition{Condition: condition.Condition{Code: condition.DiscoveryPlain, Subject: "http://disc"}}
	shared := health.Condition{Condition: condition.Condition{Code: condition.MarkShared}}
	for _, turn := range []reconciler.Turn{
		{At: start, Health: health.Report{State: health.Starting}},
		{At: start.Add(time.Second), Health: health.Report{State: health.Healthy}},
		{At: start.Add(29 * time.Second), Health: health.Report{State: health.Healthy}},
		{At: start.Add(30 * time.Second), Health: health.Report{State: health.Degraded, Conditions: []health.Condition{unreachable, shared, plain}}},
		{At: start.Add(59 * time.Second), Health: health.Report{State: health.Degraded, Conditions: []health.Condition{unreachable}}},
		{At: start.Add(60 * time.Second), Health: health.Report{State: health.Healthy}},
	} {
		s.turned(turn)
	}
	if err := socket.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	want := []string{"STATUS=starting", "WATCHDOG=1", "STATUS=healthy", "STATUS=degraded: PeerUnreachable db2 (+1)", "WATCHDOG=1",
		"STATUS=degraded: PeerUnreachable db2", "STATUS=healthy", "WATCHDOG=1"}
	var got []string
	for range want {
		message := make([]byte, 1024)
		n, _, err := socket.ReadFrom(message)
		if err != nil {
			t.Fatalf("after %q: %v", got, err)
		}
		got = append(got, string(message[:n]))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
