package ui_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/e2e/internal/harness"
	"github.com/spanmesh/span/e2e/internal/trouble"
)

// within is how long the page may take to show what an agent knows.
const within = 3 * time.Second

// cut has nftables drop WireGuard's packets from and to the third machine, and compares when the
// agents of the others knew that with when the page showed it.
func (m *mesh) cut(t *testing.T, b *browser) {
	t.Helper()
	peer := m.Machines[2]
	others := []*harness.Machine{m.Machines[0], m.Machines[1], m.Machines[3], m.Machines[4]}
	known := make([]time.Time, len(others))
	var group sync.WaitGroup
	for i, machine := range others {
		watching := make(chan struct{})
		group.Go(func() { known[i] = downAt(t, machine, peer.Name, watching) })
		<-watching
	}
	// The times at which each row has the peer as down.
	var shown map[string]float64
	armed := make(chan struct{})
	group.Go(func() {
		<-armed
		shown = evaluate[map[string]float64](b, `globalThis.shownAt`)
	})
	evaluate[bool](b, `globalThis.shownAt = new Promise((done) => {
		const at = {};
		const look = () => {
			const names = [...document.querySelectorAll("main .matrix thead th")].map((th) => th.title);
			const column = names.indexOf("`+peer.Name+`");
			for (const row of document.querySelectorAll("main .matrix tbody tr")) {
				const name = row.cells[0].innerText.trim();
				if (row.cells[column + 1]?.className === "down" && !(name in at)) at[name] = Date.now();
			}
			if (Object.keys(at).length >= 4) { observer.disconnect(); done(at); }
		};
		const observer = new MutationObserver(look);
		observer.observe(document, { subtree: true, childList: true, characterData: true, attributes: true });
	}), true`)
	stalled := measureStalls(t)
	trouble.BlockUDP(peer, "in")
	trouble.BlockUDP(peer, "out")
	close(armed)
	group.Wait()
	stall := stalled()
	for i, machine := range others {
		ms, found := shown[machine.Name]
		if !found || known[i].IsZero() {
			t.Errorf("%s: the agent knew at %v, the page has %v", machine.Name, known[i], shown)
			continue
		}
		took := time.UnixMilli(int64(ms)).Sub(known[i])
		t.Logf("%s: shown %v after the agent knew", machine.Name, took.Round(time.Millisecond))
		if took > within+stall {
			t.Errorf("%s: shown %v after the agent knew, and this machine stood still for %v of it", machine.Name, took, stall)
		}
	}
}

// downAt waits until a machine's agent has a peer as down, and returns since when, by its own clock.
// Watching is closed once it waits.
func downAt(t *testing.T, machine *harness.Machine, peer string, watching chan<- struct{}) time.Time {
	stream, err := machine.API.Client().Watch(harness.Context(t), connect.NewRequest(&agentpb.WatchRequest{Type: "kubespanpeerstatuses"}))
	if err != nil {
		t.Error(err)
		close(watching)
		return time.Time{}
	}
	for first := true; stream.Receive(); first = false {
		if first {
			close(watching)
		}
		for _, e := range stream.Msg().GetEvents() {
			if spec := e.GetResource().GetSpec().AsMap(); spec["label"] == peer && harness.IsDown(spec) {
				return e.GetResource().GetMetadata().GetUpdated().AsTime()
			}
		}
	}
	t.Errorf("the agent of %s: %v", machine.Name, stream.Err())
	return time.Time{}
}

// measureStalls measures for how long this machine runs none of this process, which would be ready
// to, until the function that is returned is called.
func measureStalls(t *testing.T) (stop func() time.Duration) {
	const step = 20 * time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	total := make(chan time.Duration)
	go func() {
		var sum time.Duration
		for ctx.Err() == nil {
			start := time.Now()
			time.Sleep(step)
			sum += max(time.Since(start)-2*step, 0)
		}
		total <- sum
	}()
	return func() time.Duration {
		cancel()
		return <-total
	}
}
