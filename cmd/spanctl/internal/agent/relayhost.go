package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/cmd/spanctl/internal/metrics"
	"github.com/spanmesh/span/cmd/spanctl/internal/relayprocess"
	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/health"
	"github.com/spanmesh/span/relay/front"
)

const (
	// relayCheck is how often it is looked whether the relay is still there.
	relayCheck = time.Second
	// relayRetry is the pause after which a relay is started again that could not be.
	relayRetry = 10 * time.Second
	// relayPatience is how many requests in a row a relay may leave without an answer before it is replaced.
	// Each waits 5 s.
	relayPatience = 3
)

// relayHost keeps the process of the blind relay that this machine is for others. The process stays when
// the agent ends, and is taken up by the next one.
type relayHost struct {
	// relay starts, asks and ends the process.
	relay relayControl
	// report takes the offer, and stand what is wrong, where they have changed.
	report func(reconciler.Offer)
	stand  func(...condition.Condition)
	// serves takes what the relay serves, where that has changed.
	serves func(health.OfferedRelay)
	log    *slog.Logger
	// Collector has the metrics of the relay, and counts what it has done; nil without one.
	front.Collector
	counts atomic.Pointer[front.Counts]

	// turns has the last turn of the loop.
	turns lastTurn

	// The fields below belong to run.

	turn reconciler.Turn
	// ended is set once the process was ended, as there is no offer.
	ended bool
	// admitting is the ID of the process that has admitted; zero for none.
	admitting int
	admitted  reconciler.Admitted
	// silent counts the requests in a row that the process has not answered.
	silent int
	// offered and fault are what was reported last, and retry is when a start that failed is repeated.
	offered reconciler.Offer
	fault   string
	retry   time.Time
	// served is what was given to serves last.
	served health.OfferedRelay
}

// relayControl is package relayprocess.
type relayControl interface {
	Ask(ctx context.Context, admit *relayprocess.Admission) (relayprocess.State, error)
	Try(ctx context.Context, port uint16, mark uint32) error
	Start(ctx context.Context, port uint16, mark uint32) error
	End(ctx context.Context) error
}

// relayDir implements relayControl with a directory.
type relayDir string

func (d relayDir) Ask(ctx context.Context, admit *relayprocess.Admission) (relayprocess.State, error) {
	return relayprocess.Ask(ctx, string(d), admit)
}

func (relayDir) Try(ctx context.Context, port uint16, mark uint32) error {
	return relayprocess.Try(ctx, port, mark)
}

func (d relayDir) Start(ctx context.Context, port uint16, mark uint32) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	return relayprocess.Start(ctx, program, string(d), port, mark)
}

func (d relayDir) End(ctx context.Context) error { return relayprocess.End(ctx, string(d)) }

// newRelayHost returns the host of the relay of a loop, which goes on to publish the one of the agent
// before: peers would leave it otherwise.
func (d *deps) newRelayHost(ctx context.Context, loop *reconciler.Loop, meter *metrics.Metrics) *relayHost {
	h := &relayHost{relay: relayDir(d.dir.Relay()), report: loop.SetOffer, serves: loop.SetServing, log: d.log, turns: newLastTurn(), stand: func(found ...condition.Condition) {
		_ = loop.Stand(ctx, condition.RelayNotServing, found...) // it fails where the agent stops
	}}
	h.Collector = h.counts.Load
	meter.Add(h)
	if state, err := h.relay.Ask(ctx, nil); err == nil {
		h.reportNew(reconciler.Offer{Key: state.Key, Port: state.Port}, "")
	}
	return h
}

// run keeps the relay until ctx ends.
func (h *relayHost) run(ctx context.Context) {
	tick := time.NewTicker(relayCheck)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case h.turn = <-h.turns:
		case <-tick.C:
		}
		h.step(ctx, time.Now())
	}
}

// step makes the process what the last turn asks for. Before the first config is in force, and while
// passes fail, what there is stays.
func (h *relayHost) step(ctx context.Context, now time.Time) {
	config := h.turn.Config
	switch {
	case config == nil:
	case h.turn.Down || !config.KubeSpan().Enabled || !config.KubeSpan().Relay.Offer:
		h.withdraw(ctx)
	case h.turn.Mesh.Link != "":
		h.ended = false
		h.keep(ctx, now, uint16(config.KubeSpan().RelayPort()), config.KubeSpan().FirewallMark)
	}
}

// withdraw ends the process.
func (h *relayHost) withdraw(ctx context.Context) {
	if h.ended {
		return
	}
	h.reportNew(reconciler.Offer{}, "")
	h.count(nil)
	if err := h.relay.End(ctx); err != nil {
		if ctx.Err() == nil {
			h.log.Warn("relay not ended", "error", err)
		}
		return
	}
	if h.admitting != 0 {
		h.log.Info("relay ended, as it is not offered any more")
	}
	h.ended, h.admitting = true, 0
}

// keep starts the process if there is none, or another one is wanted, and sends it the admission.
func (h *relayHost) keep(ctx context.Context, now time.Time, port uint16, mark uint32) {
	state, err := h.ask(ctx)
	if err == nil {
		h.silent = 0
		h.count(&state)
		if state.Port == port && state.Mark == mark {
			h.reportNew(reconciler.Offer{Key: state.Key, Port: port}, state.Fault)
			return
		}
	}
	if ctx.Err() != nil || now.Before(h.retry) {
		return
	}
	if h.isBusy(err) {
		return
	}
	if err == nil && state.Port != port {
		if fault := h.relay.Try(ctx, port, mark); fault != nil {
			h.notStarted(ctx, now, port, fault, reconciler.Offer{Key: state.Key, Port: state.Port})
			return
		}
	}
	h.noteReplaced(port, err)
	if err := h.start(ctx, port, mark); err != nil {
		h.notStarted(ctx, now, port, err, reconciler.Offer{})
		return
	}
	if state, err = h.ask(ctx); err == nil {
		h.log.Info("relay started", "port", port, "process", state.PID)
		h.count(&state)
		h.reportNew(reconciler.Offer{Key: state.Key, Port: port}, state.Fault)
	}
}

// isBusy reports whether a process that has not answered is waited for, as a machine may be busy.
func (h *relayHost) isBusy(err error) bool {
	if err != nil && !errors.Is(err, relayprocess.ErrNone) {
		if h.silent++; h.silent < relayPatience {
			return true
		}
	}
	h.silent = 0
	return false
}

// noteReplaced logs why a process is started. Err is that of the request to the one before.
func (h *relayHost) noteReplaced(port uint16, err error) {
	switch {
	case !errors.Is(err, relayprocess.ErrNone):
		h.log.Info("relay is replaced", "port", port, "error", err)
	case h.admitting != 0:
		h.log.Warn("relay exited; restarting", "port", port, "process", h.admitting)
		h.admitting = 0 // once
	}
}

// notStarted reports that no relay could be started at a port. Stays is the one that goes on meanwhile; the
// zero value if there is none.
func (h *relayHost) notStarted(ctx context.Context, now time.Time, port uint16, fault error, stays reconciler.Offer) {
	if ctx.Err() != nil {
		return
	}
	h.retry = now.Add(relayRetry)
	h.log.Warn("relay not started", "port", port, "error", fault, "retry_in", relayRetry.String())
	if stays.Port == 0 {
		h.count(nil)
	}
	h.reportNew(stays, fault.Error())
}

// count reports what a process serves; nil for none.
func (h *relayHost) count(state *relayprocess.State) {
	var served health.OfferedRelay
	if state == nil {
		h.counts.Store(nil)
	} else {
		h.counts.Store(&state.Counts)
		served = health.OfferedRelay{Port: state.Port, Members: state.Counts.Members, Registered: state.Counts.Registered}
	}
	if served != h.served {
		h.serves(served)
		h.served = served
	}
}

// start replaces the process, of which there may be none.
func (h *relayHost) start(ctx context.Context, port uint16, mark uint32) error {
	if err := h.relay.End(ctx); err != nil {
		return err
	}
	return h.relay.Start(ctx, port, mark)
}

// ask returns the state of the process. It sends the admission if that has changed, or the process has.
func (h *relayHost) ask(ctx context.Context) (state relayprocess.State, err error) {
	admitted := h.turn.Admitted
	same := admitted.Complete == h.admitted.Complete && slices.Equal(admitted.Members, h.admitted.Members) && slices.Equal(admitted.WithoutAgent, h.admitted.WithoutAgent)
	if same {
		if state, err = h.relay.Ask(ctx, nil); err != nil || state.PID == h.admitting {
			return state, err
		}
	}
	state, err = h.relay.Ask(ctx, &relayprocess.Admission{Members: admitted.Members, WithoutAgent: admitted.WithoutAgent, Complete: admitted.Complete})
	if err == nil {
		h.admitting, h.admitted = state.PID, admitted
	}
	return state, err
}

// reportNew reports the offer and what is wrong with it, if they have changed.
func (h *relayHost) reportNew(offer reconciler.Offer, fault string) {
	if offer != h.offered {
		h.report(offer)
		h.offered = offer
	}
	if fault == h.fault {
		return
	}
	h.fault = fault
	if fault == "" {
		h.stand()
		return
	}
	port := h.turn.Config.KubeSpan().RelayPort()
	if int(offer.Port) == port {
		h.log.Warn("relay does not admit every member", "error", fault)
		h.stand(notAdmitting(fault))
		return
	}
	h.stand(notServing(port, int(offer.Port), fault))
}

// notServing returns the condition of a relay that does not start at a port. Stays is the port at which one
// goes on meanwhile; 0 for none.
func notServing(port, stays int, fault string) condition.Condition {
	c := condition.Condition{Code: condition.RelayNotServing, Cause: fmt.Sprintf("the relay that relay.offer asks for does not start at UDP %d: %s", port, fault),
		Remedy: "fix the error, or remove relay.offer"}
	if strings.Contains(fault, unix.EADDRINUSE.Error()) { // the process has said it
		c.Cause = fmt.Sprintf("the UDP port %d of the relay that relay.offer asks for is taken", port)
		c.Remedy = fmt.Sprintf("end the program that `ss -lunp sport = :%d` shows, or set relay.port to a free port", port)
	}
	if stays != 0 {
		c.Cause += fmt.Sprintf("; the relay still runs at UDP %d", stays)
	}
	return c
}

// notAdmitting returns the condition of a relay that serves, though not all that it was told of.
func notAdmitting(fault string) condition.Condition {
	return condition.Condition{Code: condition.RelayNotServing, Cause: fmt.Sprintf("the relay that relay.offer asks for does not serve every member: %s", fault),
		Remedy: "set relay.offer on other machines as well, and see the file log in the directory relay of the state directory"}
}

// endRelay ends the relay of a machine whose config offers none any more, without an agent.
func (d *deps) endRelay(ctx context.Context) {
	if err := relayprocess.End(ctx, d.dir.Relay()); err != nil {
		d.log.Warn("relay not ended", "error", err)
	}
}

// resetRelay has the relay that the machine is for others get another key: the machine may be a clone,
// and both would be one relay. The agent starts it again.
func (m *configManager) resetRelay(ctx context.Context) {
	if err := errors.Join(relayprocess.End(ctx, m.dir.Relay()), os.RemoveAll(m.dir.Relay())); err != nil {
		m.log.Warn("relay's key not replaced", "error", err)
	}
}
