package cli

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/cmd/spanctl/internal/agent"
	"github.com/spanmesh/span/cmd/spanctl/internal/top"
	"github.com/spanmesh/span/reconciler/resource"
)

// topSource asks an agent for what `spanctl top` shows.
type topSource struct {
	session *agentSession
	color   bool
	// one is held by a call: all use one connection, which over ssh is a login.
	one sync.Mutex
}

var _ top.Source = (*topSource)(nil)

// Health implements top.Source. Where no agent answers, the next call connects anew.
func (t *topSource) Health(ctx context.Context) (*agentpb.GetHealthResponse, error) {
	t.one.Lock()
	defer t.one.Unlock()
	h, err := t.session.health(ctx, answerTimeout)
	if err != nil || agent.IsAbsent(h) {
		t.session.http.CloseIdleConnections()
	}
	return h, err
}

// Events implements top.Source.
func (t *topSource) Events(ctx context.Context) ([]top.Event, error) {
	list, err := t.list(ctx, resource.EventType, "")
	if err != nil {
		return nil, err
	}
	events := make([]top.Event, len(list))
	for i, spec := range list {
		count, _ := spec["count"].(float64)
		events[i] = top.Event{Warning: textOf(spec, "severity") == string(resource.Warning), Reason: textOf(spec, "reason"),
			Object: textOf(spec, "object"), Message: textOf(spec, "message"), Count: int(count), Last: timeOf(spec, "lastTimestamp")}
	}
	return events, nil
}

// Samples implements top.Source.
func (t *topSource) Samples(ctx context.Context) (map[string][]top.Sample, error) {
	t.one.Lock()
	defer t.one.Unlock()
	ctx, stop := context.WithTimeout(ctx, answerTimeout)
	defer stop()
	response, err := call(ctx, t.session.GetSamples, &agentpb.GetSamplesRequest{Span: agentpb.SampleSpan_SAMPLE_SPAN_HOUR})
	if err != nil {
		return nil, err
	}
	peers := make(map[string][]top.Sample, len(response.GetPeers()))
	for _, p := range response.GetPeers() {
		samples := make([]top.Sample, len(p.GetSamples()))
		for i, s := range p.GetSamples() {
			samples[i] = top.Sample{Time: s.GetTime().AsTime(), State: s.GetState(), RTT: s.GetRttSeconds()}
		}
		peers[p.GetPublicKey()] = samples
	}
	return peers, nil
}

// Details implements top.Source.
func (t *topSource) Details(ctx context.Context, key string) (d top.Details, err error) {
	statuses, err := t.list(ctx, resource.PeerStatuses, key)
	if err != nil {
		return d, err
	}
	specs, err := t.list(ctx, resource.PeerSpecs, key)
	if err != nil {
		return d, err
	}
	for _, s := range statuses {
		d.NodeID, d.Address, d.Moved = textOf(s, "nodeID"), textOf(s, "address"), timeOf(s, "lastEndpointChange")
	}
	for _, s := range specs {
		endpoints, _ := s["endpoints"].([]any)
		for _, e := range endpoints {
			d.Endpoints = append(d.Endpoints, fmt.Sprint(e))
		}
		refused, _ := s["refusedEndpoints"].([]any)
		for _, r := range refused {
			spec, _ := r.(map[string]any)
			d.Refused = append(d.Refused, textOf(spec, "endpoint")+": "+textOf(spec, "reason"))
		}
	}
	return d, nil
}

// Diff implements top.Source.
func (t *topSource) Diff(ctx context.Context) ([]string, error) {
	t.one.Lock()
	defer t.one.Unlock()
	within, stop := context.WithTimeout(ctx, diffTimeout)
	defer stop()
	response, err := call(within, t.session.Diff, &agentpb.DiffRequest{})
	if err != nil {
		return nil, err
	}
	p := &painter{out: io.Discard, on: t.color}
	if fault := response.GetConfigError(); fault != "" {
		p.line("", "this is about the config in force, not the config file:")
		for line := range strings.Lines(fault) {
			p.line("", strings.TrimRight(line, "\n"))
		}
		if len(response.GetPlan().GetChanges()) == 0 {
			p.line("", "no difference")
		}
	}
	if err := p.plan(comparison{from: kernelSide, to: "the config in force", plan: response.GetPlan()}); err != nil {
		return nil, err
	}
	if p.buf.Len() == 0 {
		return nil, nil
	}
	return strings.Split(strings.TrimSuffix(p.buf.String(), "\n"), "\n"), nil
}

// diffTimeout is how long the agent may take to read the kernel.
const diffTimeout = time.Minute

// list returns the specs of a type's resources, or of the one with an ID, if it is there.
func (t *topSource) list(ctx context.Context, of *resource.Type, id string) ([]map[string]any, error) {
	t.one.Lock()
	defer t.one.Unlock()
	ctx, stop := context.WithTimeout(ctx, answerTimeout)
	defer stop()
	response, err := call(ctx, t.session.List, &agentpb.ListRequest{Type: of.Name, Id: id})
	if err != nil {
		return nil, err
	}
	specs := make([]map[string]any, len(response.GetResources()))
	for i, r := range response.GetResources() {
		specs[i] = r.GetSpec().AsMap()
	}
	return specs, nil
}

// timeOf returns a time of a spec; zero without it.
func timeOf(spec map[string]any, field string) time.Time {
	at, _ := time.Parse(time.RFC3339Nano, textOf(spec, field)) // zero for none
	return at
}
