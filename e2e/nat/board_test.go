package nat

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/e2e/internal/harness"
)

// board has how each machine reaches each other one, as their agents say, over time.
type board struct {
	mu   sync.Mutex
	ends map[end]*record
	// news is closed at the next change.
	news chan struct{}
	// watchers are the goroutines that write.
	watchers sync.WaitGroup
}

// end is one end of a connection: how a machine reaches another.
type end struct{ at, to string }

// record is what the agent at an end has said.
type record struct {
	// known is when it had the peer first, and up when it reached it first.
	known, up time.Time
	// now is how it reaches the peer, and first when it first did so in each way.
	now   way
	first map[way]time.Time
	// spec is the last status of the peer.
	spec map[string]any
}

func newBoard() *board { return &board{ends: map[end]*record{}, news: make(chan struct{})} }

// watch follows the peers of a machine until the context ends or its agent does.
func (b *board) watch(ctx context.Context, t *testing.T, machine *harness.Machine) {
	t.Helper()
	stream, err := machine.API.Client().Watch(ctx, connect.NewRequest(&agentpb.WatchRequest{Type: "kubespanpeerstatuses"}))
	if err != nil {
		t.Fatal(err)
	}
	b.watchers.Go(func() {
		for stream.Receive() {
			for _, e := range stream.Msg().GetEvents() {
				if !e.GetDeleted() {
					b.note(machine.Name, e.GetResource().GetSpec().AsMap())
				}
			}
		}
		_ = stream.Close()
	})
}

// note records a status of a peer.
func (b *board) note(at string, spec map[string]any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now, key := time.Now(), end{at, fmt.Sprint(spec["label"])}
	r := b.ends[key]
	if r == nil {
		r = &record{known: now, first: map[way]time.Time{}}
		b.ends[key] = r
	}
	r.spec = spec
	r.now = wayOf(spec)
	if r.first[r.now].IsZero() {
		r.first[r.now] = now
	}
	if r.up.IsZero() && r.now != none {
		r.up = now
	}
	close(b.news)
	b.news = make(chan struct{})
}

// wayOf returns how a peer is reached by its status.
func wayOf(spec map[string]any) way {
	text, _ := spec["endpoint"].(string)
	endpoint, err := netip.ParseAddrPort(text)
	switch {
	case !harness.IsUp(spec), err != nil, spec["relay"] != nil:
		return none
	case spec["blindRelay"] == nil:
		return direct
	case endpoint.Addr().IsLoopback():
		return overTLS
	default:
		return relayed
	}
}

// meeting is how and when two machines met.
type meeting struct {
	how way
	// after is how long it first took since both knew of each other, and moved since both were up.
	after, moved time.Duration
	// text has both ends as their agents see them.
	text string
}

// meeting returns how two machines meet now.
func (b *board) meeting(one, other *place) meeting {
	b.mu.Lock()
	defer b.mu.Unlock()
	there, back := b.ends[end{one.Name, other.Name}], b.ends[end{other.Name, one.Name}]
	if there == nil || back == nil {
		return meeting{text: "they do not know of each other"}
	}
	text := fmt.Sprintf("%v; %v", there.brief(), back.brief())
	since := later(there.first[there.now], back.first[back.now])
	return meeting{met(one.kind, other.kind, there.now, back.now), since.Sub(later(there.known, back.known)), since.Sub(later(there.up, back.up)), text}
}

// brief returns how a peer is reached, in a line.
func (r *record) brief() string {
	var parts []string
	for _, field := range []string{"state", "endpoint", "blindRelay", "notDirect"} {
		if value := r.spec[field]; value != nil {
			parts = append(parts, fmt.Sprintf("%s %v", field, value))
		}
	}
	return strings.Join(parts, ", ")
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// await waits until all is right, which lists what is not. It fails the test when the limit is over.
func (b *board) await(t *testing.T, limit time.Duration, wrong func() []string) {
	t.Helper()
	over := time.NewTimer(limit)
	defer over.Stop()
	for {
		b.mu.Lock()
		news := b.news
		b.mu.Unlock()
		missing := wrong()
		if len(missing) == 0 {
			return
		}
		select {
		case <-news:
		case <-over.C:
			t.Errorf("after %v:\n%s", limit, strings.Join(missing, "\n"))
			return
		}
	}
}
