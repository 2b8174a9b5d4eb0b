package cli

import (
	"log/slog"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/health"
)

// supervisor notifies systemd of the machine's health, and that the agent's loop turns (sd_notify(3)).
type supervisor struct {
	log *slog.Logger
	// interval is how often the watchdog of the unit is notified; 0 for never.
	interval time.Duration
	// status is the health, and alive the time, of the last notifications.
	status string
	alive  time.Time
}

// newSupervisor returns the one of this process.
func newSupervisor(log *slog.Logger) *supervisor {
	limit, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		log.Error("watchdog not known", "error", err)
	}
	return &supervisor{log: log, interval: limit / 3}
}

// turned notifies systemd after a turn of the loop.
func (s *supervisor) turned(turn reconciler.Turn) {
	report, _ := turn.HealthAt(turn.At)
	if status := statusLine(report); status != s.status {
		s.status = status
		notifySystemd(s.log, "STATUS="+status)
	}
	if s.interval > 0 && turn.At.Sub(s.alive) >= s.interval {
		s.alive = turn.At
		notifySystemd(s.log, daemon.SdNotifyWatchdog)
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
