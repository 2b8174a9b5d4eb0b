package top

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/cmd/spanctl/internal/agent"
)

// data is what the agent has answered.
type data struct {
	// health is the last answer.
	health *agentpb.GetHealthResponse
	// at is when it came.
	at time.Time
	// failed is why there is none since; nil if there is.
	failed error
	// failedSince is when it failed first.
	failedSince time.Time
	// restarted is set if the last answer is the first of an agent.
	restarted bool
	// events are those that happened last, the latest first.
	events []Event
	// rates and trends are by public key.
	rates  map[string]rate
	trends map[string]*trend
}

// rate is the traffic of a peer in bytes a second.
type rate struct {
	received, sent float64
	known          bool
}

// hasAgent reports whether an agent answered last.
func (d *data) hasAgent() bool { return d.failed == nil && !agent.IsAbsent(d.health) }

// clone returns a copy that later answers do not change.
func (d *data) clone() *data {
	c := *d
	c.rates = maps.Clone(d.rates)
	c.trends = make(map[string]*trend, len(d.trends))
	for key, t := range d.trends {
		c.trends[key] = t.clone()
	}
	return &c
}

// take takes an answer, and reports whether there may be new events.
func (d *data) take(now time.Time, answer HealthAnswer) bool {
	if answer.Err != nil {
		if d.failed == nil {
			d.failedSince = now
		}
		d.failed = answer.Err
		return false
	}
	before, after := d.health, answer.Health
	d.failed, d.health, d.at = nil, after, now
	d.restarted = !before.GetStarted().AsTime().Equal(after.GetStarted().AsTime())
	read := after.GetTime().AsTime()
	peers, rates := make(map[string]*trend, len(after.GetPeers())), make(map[string]rate, len(after.GetPeers()))
	earlier := byKey(before.GetPeers())
	for _, p := range after.GetPeers() {
		key := p.GetPublicKey()
		t := cmp.Or(d.trends[key], &trend{})
		t.put(read, bucketOf(p))
		peers[key] = t
		rates[key] = rateOf(earlier[key], p, read.Sub(before.GetTime().AsTime()))
	}
	if !agent.IsAbsent(after) { // trends outlive a restart of the agent
		d.trends = peers
	}
	d.rates = rates
	return hasChanged(before, after)
}

// takeEvents takes an answer about events. One that failed leaves those before.
func (d *data) takeEvents(answer EventsAnswer) {
	if answer.Err != nil {
		return
	}
	d.events = slices.Clone(answer.Events)
	slices.SortStableFunc(d.events, func(a, b Event) int { return b.Last.Compare(a.Last) })
}

// takeSamples takes an answer about the last hour. What was seen since the start stays.
func (d *data) takeSamples(answer SamplesAnswer) {
	for key, samples := range answer.Peers {
		if t := d.trends[key]; t != nil {
			t.fill(samples)
		}
	}
}

func byKey(peers []*agentpb.Peer) map[string]*agentpb.Peer {
	m := make(map[string]*agentpb.Peer, len(peers))
	for _, p := range peers {
		m[p.GetPublicKey()] = p
	}
	return m
}

// rateOf returns the traffic between two answers. Counters that went back began anew.
func rateOf(before, after *agentpb.Peer, d time.Duration) rate {
	received, sent := after.GetReceivedBytes()-before.GetReceivedBytes(), after.GetTransmittedBytes()-before.GetTransmittedBytes()
	if before == nil || d <= 0 || received < 0 || sent < 0 {
		return rate{}
	}
	return rate{received / d.Seconds(), sent / d.Seconds(), true}
}

// hasChanged reports whether something differs between two answers that is an event.
func hasChanged(a, b *agentpb.GetHealthResponse) bool {
	if a.GetState() != b.GetState() || !a.GetStarted().AsTime().Equal(b.GetStarted().AsTime()) || !a.GetConfig().GetSince().AsTime().Equal(b.GetConfig().GetSince().AsTime()) {
		return true
	}
	return !slices.EqualFunc(a.GetPeers(), b.GetPeers(), func(p, q *agentpb.Peer) bool {
		return p.GetPublicKey() == q.GetPublicKey() && p.GetState() == q.GetState() && p.GetPath() == q.GetPath()
	}) || !slices.EqualFunc(a.GetConditions(), b.GetConditions(), func(c, d *agentpb.Condition) bool {
		return c.GetCode() == d.GetCode() && c.GetSubject() == d.GetSubject()
	}) || !slices.EqualFunc(a.GetDiscovery(), b.GetDiscovery(), func(s, t *agentpb.DiscoverySession) bool {
		return s.GetEndpoint() == t.GetEndpoint() && s.GetConnected() == t.GetConnected()
	})
}
