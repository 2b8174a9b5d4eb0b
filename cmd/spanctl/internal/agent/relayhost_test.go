package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/cmd/spanctl/internal/relayprocess"
	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/health"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/schema"
)

// fakeRelay is a process, and notes what happens to it.
type fakeRelay struct {
	state  relayprocess.State
	pid    int
	starts error
	taken  error
	hangs  bool
	did    []string
}

func (f *fakeRelay) note(format string, args ...any) {
	f.did = append(f.did, fmt.Sprintf(format, args...))
}

func (f *fakeRelay) Ask(_ context.Context, admit *relayprocess.Admission) (relayprocess.State, error) {
	switch {
	case f.hangs:
		return relayprocess.State{}, errors.New("it does not answer")
	case f.state.PID == 0:
		return relayprocess.State{}, relayprocess.ErrNone
	case admit != nil:
		more := ""
		if !admit.Complete {
			more = "+"
		}
		f.note("admit %d%s", len(admit.Members), more)
	}
	return f.state, nil
}

func (f *fakeRelay) Try(context.Context, uint16, uint32) error { return f.taken }

func (f *fakeRelay) Start(_ context.Context, port uint16, mark uint32) error {
	if f.starts != nil {
		return f.starts
	}
	f.pid++
	f.note("start %d", port)
	f.state, f.hangs = relayprocess.State{PID: f.pid, Key: mesh.Key{1}, Port: port, Mark: mark}, false
	return nil
}

func (f *fakeRelay) End(context.Context) error {
	if f.state.PID != 0 {
		f.note("end")
	}
	f.state = relayprocess.State{}
	return nil
}

// relayTurn is a turn with a relay at a port; 0 for none.
func relayTurn(port int, members ...mesh.Key) reconciler.Turn {
	config := &schema.Config{}
	k := config.KubeSpan()
	k.Enabled, k.Relay.Offer, k.Relay.Port, k.FirewallMark = true, port != 0, port, 32
	return reconciler.Turn{Config: config, Mesh: reconciler.Mesh{Link: "kubespan"}, Admitted: reconciler.Admitted{Members: members, Complete: true}}
}

func TestRelayIsKept(t *testing.T) {
	down, failing, disabled, early := relayTurn(5), relayTurn(5), relayTurn(5), relayTurn(5)
	early.Admitted.Complete = false
	down.Down, failing.Mesh.Link, disabled.Config.KubeSpan().Enabled = true, "", false
	of := func(pid int, port uint16) relayprocess.State {
		return relayprocess.State{PID: pid, Key: mesh.Key{1}, Port: port, Mark: 32}
	}
	for _, c := range []struct {
		name   string
		before relayprocess.State
		turns  []reconciler.Turn
		// did is what happened to the process, and port that of the offer.
		did  string
		port uint16
	}{
		{"nothing is known yet", of(7, 5), []reconciler.Turn{{}}, "", 0},
		{"none is offered", relayprocess.State{}, []reconciler.Turn{relayTurn(0), relayTurn(0)}, "", 0},
		{"one is offered", relayprocess.State{}, []reconciler.Turn{relayTurn(5, mesh.Key{2}), relayTurn(5, mesh.Key{2})}, "start 5, admit 1", 5},
		{"that of the agent before goes on", of(7, 5), []reconciler.Turn{relayTurn(5, mesh.Key{2}), relayTurn(5, mesh.Key{2})}, "admit 1", 5},
		{"members come", of(7, 5), []reconciler.Turn{relayTurn(5), relayTurn(5, mesh.Key{2}), relayTurn(5, mesh.Key{2}, mesh.Key{3})}, "admit 0, admit 1, admit 2", 5},
		{"not every registry has answered yet", of(7, 5), []reconciler.Turn{early, early, relayTurn(5)}, "admit 0+, admit 0", 5},
		{"passes fail", of(7, 5), []reconciler.Turn{failing}, "", 0},
		{"another port", of(7, 5), []reconciler.Turn{relayTurn(6)}, "admit 0, end, start 6, admit 0", 6},
		{"another mark", relayprocess.State{PID: 7, Port: 5, Mark: 64}, []reconciler.Turn{relayTurn(5)}, "admit 0, end, start 5, admit 0", 5},
		{"withdrawn", of(7, 5), []reconciler.Turn{relayTurn(5), relayTurn(0)}, "admit 0, end", 0},
		{"withdrawn while no agent ran", of(7, 5), []reconciler.Turn{relayTurn(0)}, "end", 0},
		{"the mesh is taken down", of(7, 5), []reconciler.Turn{relayTurn(5), down}, "admit 0, end", 0},
		{"and comes up again", of(7, 5), []reconciler.Turn{down, relayTurn(5)}, "end, start 5, admit 0", 5},
		{"KubeSpan is turned off", of(7, 5), []reconciler.Turn{disabled}, "end", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := &fakeRelay{state: c.before, pid: 10}
			var offer reconciler.Offer
			h := &relayHost{relay: f, log: slog.New(slog.DiscardHandler), serves: func(health.OfferedRelay) {}, report: func(o reconciler.Offer) { offer = o },
				stand: func(found ...condition.Condition) { t.Errorf("conditions %v", found) }}
			for i, turn := range c.turns {
				h.turn = turn
				h.step(t.Context(), time.Unix(int64(i), 0))
			}
			if did := strings.Join(f.did, ", "); did != c.did || offer.Port != c.port {
				t.Errorf("%q, and offered at %d", did, offer.Port)
			}
		})
	}
}

func TestRelayIsStartedAgain(t *testing.T) {
	f := &fakeRelay{starts: fmt.Errorf("listen: %w", unix.EADDRINUSE)}
	var offers []uint16
	var found []condition.Condition
	h := &relayHost{relay: f, log: slog.New(slog.DiscardHandler), serves: func(health.OfferedRelay) {}, report: func(o reconciler.Offer) { offers = append(offers, o.Port) },
		stand: func(c ...condition.Condition) { found = c }, turn: relayTurn(5)}
	now := time.Unix(0, 0)
	h.step(t.Context(), now)
	if len(found) != 1 || found[0].Code != condition.RelayNotServing || !strings.Contains(found[0].Cause, "UDP port 5 of the relay") || len(offers) > 0 {
		t.Errorf("the port is taken: %v, offers %v", found, offers)
	}
	f.starts = nil
	h.step(t.Context(), now.Add(relayRetry-1))
	if f.state.PID != 0 {
		t.Error("it was tried again too soon")
	}
	h.step(t.Context(), now.Add(relayRetry))
	if f.state.PID != 1 || len(found) > 0 || !slices.Equal(offers, []uint16{5}) {
		t.Errorf("the port is free: process %d, %v, offers %v", f.state.PID, found, offers)
	}
	for i, lose := range []func(){func() { f.state = relayprocess.State{} }, func() { f.hangs = true }} {
		lose()
		for range relayPatience {
			h.step(t.Context(), now.Add(relayRetry+time.Second))
		}
		if f.state.PID != i+2 || !slices.Equal(offers, []uint16{5}) {
			t.Errorf("after it was killed or stopped: process %d, offers %v", f.state.PID, offers)
		}
	}
	f.starts = errors.New("no")
	f.state = relayprocess.State{}
	h.step(t.Context(), now.Add(time.Hour))
	if !slices.Equal(offers, []uint16{5, 0}) || len(found) != 1 || !strings.Contains(found[0].Cause, "no") {
		t.Errorf("it does not start: %v, offers %v", found, offers)
	}
}

// TestRelayThatRefusesMembersIsKept has a relay that answers, and does not admit all.
func TestRelayThatRefusesMembersIsKept(t *testing.T) {
	f := &fakeRelay{state: relayprocess.State{PID: 7, Key: mesh.Key{1}, Port: 5, Mark: 32, Fault: "1 of 2 members"}}
	var offer reconciler.Offer
	var found []condition.Condition
	h := &relayHost{relay: f, log: slog.New(slog.DiscardHandler), serves: func(health.OfferedRelay) {}, report: func(o reconciler.Offer) { offer = o },
		stand: func(c ...condition.Condition) { found = c }, turn: relayTurn(5, mesh.Key{2}, mesh.Key{3})}
	for i := range 3 * relayPatience {
		h.step(t.Context(), time.Unix(int64(i), 0))
	}
	if did := strings.Join(f.did, ", "); did != "admit 2" || offer.Port != 5 {
		t.Errorf("%q, and offered at %d", did, offer.Port)
	}
	if len(found) != 1 || found[0].Code != condition.RelayNotServing || !strings.Contains(found[0].Cause, "1 of 2 members") {
		t.Errorf("conditions %v", found)
	}
	f.state.Fault = ""
	h.step(t.Context(), time.Unix(100, 0))
	if len(found) > 0 {
		t.Errorf("once all are admitted: %v", found)
	}
}

// TestRelayStaysWhileItsNewPortIsTaken has a relay whose port is changed to one that another program has.
func TestRelayStaysWhileItsNewPortIsTaken(t *testing.T) {
	f := &fakeRelay{state: relayprocess.State{PID: 7, Key: mesh.Key{1}, Port: 5, Mark: 32}, pid: 7, taken: unix.EADDRINUSE}
	var offer reconciler.Offer
	var found []condition.Condition
	var served health.OfferedRelay
	h := &relayHost{relay: f, log: slog.New(slog.DiscardHandler), report: func(o reconciler.Offer) { offer = o },
		serves: func(o health.OfferedRelay) { served = o }, stand: func(c ...condition.Condition) { found = c }, turn: relayTurn(6, mesh.Key{2})}
	f.state.Counts.Members, f.state.Counts.Registered = 3, 1
	now := time.Unix(0, 0)
	h.step(t.Context(), now)
	if offer.Port != 5 || f.state.PID != 7 {
		t.Errorf("offered at %d by process %d", offer.Port, f.state.PID)
	}
	if served != (health.OfferedRelay{Port: 5, Members: 3, Registered: 1}) {
		t.Errorf("it serves %+v", served)
	}
	if len(found) != 1 || found[0].Cause != "the UDP port 6 of the relay that relay.offer asks for is taken; the relay still runs at UDP 5" {
		t.Errorf("conditions %v", found)
	}
	f.taken = nil
	h.step(t.Context(), now.Add(relayRetry))
	if offer.Port != 6 || f.state.PID != 8 || len(found) > 0 || served.Port != 6 {
		t.Errorf("once it is free: offered at %d by process %d, conditions %v, serving at %d", offer.Port, f.state.PID, found, served.Port)
	}
	h.turn = relayTurn(0)
	h.step(t.Context(), now.Add(time.Minute))
	if served != (health.OfferedRelay{}) {
		t.Errorf("without relay.offer it serves %+v", served)
	}
}

// TestRelayThatWasKilledIsNamedOnce has the process end, and another not start at first.
func TestRelayThatWasKilledIsNamedOnce(t *testing.T) {
	var said bytes.Buffer
	f := &fakeRelay{}
	h := &relayHost{relay: f, log: slog.New(slog.NewTextHandler(&said, nil)), report: func(reconciler.Offer) {}, serves: func(health.OfferedRelay) {},
		stand: func(...condition.Condition) {}, turn: relayTurn(5, mesh.Key{2})}
	now := time.Unix(0, 0)
	h.step(t.Context(), now)
	if strings.Contains(said.String(), "ended by itself") {
		t.Errorf("at the start: %s", said.String())
	}
	f.state, f.starts = relayprocess.State{}, errors.New("no")
	for i := range 3 {
		h.step(t.Context(), now.Add(time.Duration(i+1)*relayRetry))
	}
	if n := strings.Count(said.String(), "level=WARN msg=\"relay exited; restarting\" port=5 process=1"); n != 1 {
		t.Errorf("%d lines: %s", n, said.String())
	}
}
