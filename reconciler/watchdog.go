package reconciler

import (
	"context"
	"errors"
	"time"

	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/event"
	"github.com/spanmesh/span/reconciler/resource"
	"github.com/spanmesh/span/reconciler/state"
)

// isUnresponsive reports whether err is that of a WireGuard process that does not answer.
func isUnresponsive(err error) bool {
	var failed *condition.Error
	return errors.As(err, &failed) && failed.Code == condition.WireGuardUnresponsive
}

// isWedged reports whether WireGuard has not answered to a pass for the second time in a row.
// Once may be the machine's fault: it was suspended, or had no time for the process.
func (e *Engine) isWedged(now time.Time, err error) bool {
	switch {
	case !isUnresponsive(err):
		e.unresponsiveSince = time.Time{}
		return false
	case e.unresponsiveSince.IsZero():
		e.unresponsiveSince = now
		return false
	default:
		return true
	}
}

// restart ends the WireGuard process. The pass makes a new one, and gives it the peers with
// the endpoints that they had.
func (e *Engine) restart(ctx context.Context, now time.Time, scope state.Scope) {
	e.lastRead = nil
	if err := e.kernel.Restart(ctx, scope); err != nil {
		e.log.Error("WireGuard not restarted", "link", scope.LinkName, "error", err)
		return
	}
	since := e.unresponsiveSince
	if since.IsZero() {
		since = now
	}
	e.unresponsiveSince = time.Time{}
	e.log.Warn("WireGuard process ended", "link", scope.LinkName, "unresponsive_since", since.UTC().Format(time.RFC3339))
	e.events.Record(now, resource.Warning, string(event.WireGuardRestarted), scope.LinkName,
		"its process did not answer since "+since.UTC().Format(time.RFC3339)+", so it was ended, and a new one made")
}
