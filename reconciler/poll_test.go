package reconciler

import (
	"testing"
	"time"

	"github.com/spanmesh/span/reconciler/peer"
)

func TestPollsAreAShareOfAProcessor(t *testing.T) {
	for _, c := range []struct {
		name             string
		next, cost, want time.Duration
	}{
		{"a small mesh at rest", peer.RestInterval, time.Millisecond, peer.RestInterval},
		{"a thousand peers at rest", peer.RestInterval, 8 * time.Millisecond, 4 * time.Second},
		{"a thousand peers, data flows", peer.ActiveInterval, 8 * time.Millisecond, 4 * time.Second},
		{"a thousand peers, one is probed", 500 * time.Millisecond, 8 * time.Millisecond, 500 * time.Millisecond},
		{"five thousand peers, one is probed", 500 * time.Millisecond, 50 * time.Millisecond, time.Second},
		{"a very large mesh", peer.RestInterval, time.Second, peer.IdleInterval},
	} {
		if got := nextPoll(c.next, c.cost); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	cost := time.Duration(0)
	for _, took := range []time.Duration{2, 1, 100, 1, 100, 100} {
		cost = pollCost(cost, took*time.Millisecond, 1000)
	}
	if cost > 2*time.Millisecond {
		t.Errorf("a moment of a busy machine makes polls seem to cost %v", cost)
	}
	for range 100 {
		cost = pollCost(cost, time.Second, 10)
	}
	if wait := nextPoll(peer.ActiveInterval, cost); wait > peer.ActiveInterval {
		t.Errorf("on a machine that is always busy, ten peers are read every %v", wait)
	}
}
