package cli

import (
	"context"
	"log/slog"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/health"
)

// maxNotifications is how many notifications wait while systemd takes none.
const maxNotifications = 64

// supervisor notifies systemd of the machine's health, and that the agent's loop turns (sd_notify(3)).
// A notification waits until systemd has room for it, and the loop does not wait with it.
type supervisor struct {
	log *slog.Logger
	// waiting are the notifications that run sends.
	waiting chan string
	// interval is how often the watchdog of the unit is notified; 0 for never.
	interval time.Duration
	// status is the health, and alive the time, of the last notifications. They belong to the loop.
	status string
	alive  time.Time
}

// newSupervisor returns the one of this process.
func newSupervisor(log *slog.Logger) *supervisor {
	limit, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		log.Error("watchdog not known", "error", err)
	}
	return &supervisor{log: log, waiting: make(chan string, maxNotifications), interval: limit / 3}
}

// run sends the notifications until ctx ends.
func (s *supervisor) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case state := <-s.waiting:
			notifySystemd(s.log, state)
		}
	}
}

// notify has a notification sent. It reports whether there was room for it.
func (s *supervisor) notify(state string) bool {
	select {
	case s.waiting <- state:
		return true
	default:
		return false
	}
}

// turned notifies systemd after a turn of the loop. What finds no room is due at the next turn.
func (s *supervisor) turned(turn reconciler.Turn) {
	report, _ := turn.HealthAt(turn.At)
	if status := statusLine(report); status != s.status && s.notify("STATUS="+status) {
		s.status = status
	}
	if s.interval > 0 && turn.At.Sub(s.alive) >= s.interval && s.notify(daemon.SdNotifyWatchdog) {
		s.alive = turn.At
	}
}

// statusLine returns the health in a line, such as "degraded: PeerUnreachable db2 (+1)".
func statusLine(r health.Report) string {
	var named []condition.Key
	for _, c := range r.Conditions {
		if isNamed(c.Severity(), c.Code) {
			named = append(named, c.Key())
		}
	}
	return stateLine(string(r.State), named)
}
