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

// listenAsSystemd has a socket in the place of systemd's.
func listenAsSystemd(t *testing.T) net.PacketConn {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	var config net.ListenConfig
	socket, err := config.ListenPacket(context.WithoutCancel(t.Context()), "unixgram", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = socket.Close() })
	if err := socket.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	t.Setenv("NOTIFY_SOCKET", path)
	return socket
}

func read(t *testing.T, socket net.PacketConn) string {
	t.Helper()
	message := make([]byte, 1024)
	n, _, err := socket.ReadFrom(message)
	if err != nil {
		t.Fatal(err)
	}
	return string(message[:n])
}

// TestTurnsDoNotWaitForSystemd has a systemd that takes nothing for a while.
func TestTurnsDoNotWaitForSystemd(t *testing.T) {
	socket := listenAsSystemd(t)
	s := newSupervisor(slog.New(slog.DiscardHandler))
	for range maxNotifications {
		for _, state := range []health.State{health.Healthy, health.Broken} {
			s.turned(reconciler.Turn{Health: health.Report{State: state}})
		}
	}
	go s.run(t.Context())
	for range maxNotifications {
		read(t, socket)
	}
	s.turned(reconciler.Turn{Health: health.Report{State: health.Degraded}})
	if got := read(t, socket); got != "STATUS=degraded" {
		t.Errorf("then systemd is notified of %q", got)
	}
}

// TestSupervisorIsTold takes some turns.
func TestSupervisorIsTold(t *testing.T) {
	socket := listenAsSystemd(t)
	t.Setenv("WATCHDOG_USEC", "90000000")
	s := newSupervisor(slog.New(slog.DiscardHandler))
	go s.run(t.Context())

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
	want := []string{"STATUS=starting", "WATCHDOG=1", "STATUS=healthy", "STATUS=degraded: PeerUnreachable db2 (+1)", "WATCHDOG=1",
		"STATUS=degraded: PeerUnreachable db2", "STATUS=healthy", "WATCHDOG=1"}
	var got []string
	for range want {
		got = append(got, read(t, socket))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
