package agent

import (
	"context"
	"math"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/cmd/spanctl/internal/samples"
	"github.com/spanmesh/span/cmd/spanctl/internal/trial"
	"github.com/spanmesh/span/reconciler/peer"
	"github.com/spanmesh/span/reconciler/resource"
)

// sampledRunner has a store with peers.
type sampledRunner struct {
	fakeRunner
	store resource.Store
}

func (r *sampledRunner) Resources(context.Context, *resource.Type) (*resource.Store, error) {
	return &r.store, nil
}

// peersAt are the statuses of peers that have received so many bytes.
func (r *sampledRunner) peersAt(bytes int64, names ...string) []resource.Resource {
	statuses, specs := map[string]any{}, map[string]any{}
	for _, name := range names {
		statuses["key-of-"+name] = resource.PeerStatus{Label: name, Name: name, NodeID: "id-of-" + name, State: peer.Up, ReceiveBytes: bytes,
			SmoothedRTT: resource.Duration(20 * time.Millisecond), Loss: resource.PercentOf(25)}
		specs["key-of-"+name] = resource.PeerSpec{Label: name}
	}
	r.store.Replace(time.Now(), resource.PeerStatuses, statuses)
	r.store.Replace(time.Now(), resource.PeerSpecs, specs)
	return r.store.List(resource.PeerStatuses)
}

// after is a moment some time after another, by a clock that was set meanwhile.
func after(m trial.Moment, d, set time.Duration) trial.Moment {
	return trial.Moment{Boot: m.Boot, Up: m.Up + d, Wall: m.Wall.Add(d + set)}
}

func TestGetSamples(t *testing.T) {
	runner := &sampledRunner{}
	now := machineNow()
	begun := after(now, -10*time.Minute, 0)
	s := &service{runner: runner, samples: newSampler(begun)}
	var bytes int64
	for ago := 10 * time.Minute; ago >= 0; ago -= 10 * time.Second {
		bytes += 1000
		names := []string{"db1", "db2"}
		if ago < 5*time.Minute {
			names = names[:1]
		}
		peers := runner.peersAt(bytes, names...)
		s.samples.turned(after(now, -ago, 0), peers)
		s.samples.turned(after(now, -ago+time.Second, 0), peers) // nothing was read for this one
	}
	get := func(word string, span agentpb.SampleSpan) (*agentpb.GetSamplesResponse, error) {
		response, err := s.GetSamples(t.Context(), connect.NewRequest(&agentpb.GetSamplesRequest{Peer: word, Span: span}))
		if err != nil {
			return nil, err
		}
		return response.Msg, nil
	}

	for word, want := range map[string][]string{"": {"db1", "db2"}, "DB1": {"db1"}, "key-of-db1": {"db1"}, "id-of-db1": {"db1"}, "db2": {"db2"}, "key-of-db2": {"db2"}} {
		all, err := get(word, agentpb.SampleSpan_SAMPLE_SPAN_UNSPECIFIED)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, p := range all.GetPeers() {
			got = append(got, p.GetName())
			if len(p.GetSamples()) != samples.Hour.Steps || p.GetPublicKey() != "key-of-"+p.GetName() {
				t.Errorf("%s has %d samples and the key %s", p.GetName(), len(p.GetSamples()), p.GetPublicKey())
			}
		}
		if len(got) != len(want) || got[0] != want[0] {
			t.Errorf("%q means %v, want %v", word, got, want)
		}
	}
	one, err := get("db1", agentpb.SampleSpan_SAMPLE_SPAN_HOUR)
	if err != nil {
		t.Fatal(err)
	}
	last := one.GetPeers()[0].GetSamples()[samples.Hour.Steps-1]
	if last.GetState() != "up" || last.GetRttSeconds() != 0.02 || last.GetLoss() < 0.24 || last.GetLoss() > 0.26 || math.Abs(last.GetReceivedBytes()-3000) > 1 {
		t.Errorf("the last sample is %v", last)
	}
	if one.GetApiVersion() != APIVersion || one.GetStep().AsDuration() != 30*time.Second {
		t.Errorf("version %s, step %v", one.GetApiVersion(), one.GetStep().AsDuration())
	}
	if at := last.GetTime().AsTime(); at.Unix()%30 != 0 || one.GetTime().AsTime().Sub(at) < 30*time.Second || one.GetTime().AsTime().Sub(at) > time.Minute+time.Second {
		t.Errorf("the last step began at %v, and it is %v", at, one.GetTime().AsTime())
	}
	if first := one.GetPeers()[0].GetSamples()[0]; first.GetState() != "" || first.RttSeconds != nil || first.Loss != nil {
		t.Errorf("before the agent started, there is %v", first)
	}
	if day, err := get("db1", agentpb.SampleSpan_SAMPLE_SPAN_DAY); err != nil || day.GetStep().AsDuration() != 10*time.Minute || len(day.GetPeers()[0].GetSamples()) != samples.Day.Steps {
		t.Errorf("a day is %v, %v", day, err)
	}

	if _, err := get("db3", 0); connect.CodeOf(err) != connect.CodeNotFound {
		t.Errorf("another peer: %v", err)
	}
	if _, err := get("", 9); connect.CodeOf(err) != connect.CodeInvalidArgument {
		t.Errorf("another span: %v", err)
	}
	runner.alone = true
	if _, err := get("", 0); connect.CodeOf(err) != connect.CodeFailedPrecondition {
		t.Errorf("no agent: %v", err)
	}
}

// The steps stay where they are when the clock is set, and are shown by the clock as it is now.
func TestSamplesAndASetClock(t *testing.T) {
	begun := machineNow()
	s := newSampler(begun)
	runner := &sampledRunner{}
	for i := range 13 {
		set := time.Duration(0)
		if i > 5 {
			set = -3 * time.Hour
		}
		s.turned(after(begun, time.Duration(i)*10*time.Second, set), runner.peersAt(int64(i), "db1"))
	}
	now := after(begun, 2*time.Minute, -3*time.Hour)
	got := samplesOf(now.Wall, now.Wall.Add(-s.time(now)), samples.Hour, s.series(now, samples.Hour, func(string, string) bool { return true })).GetPeers()[0].GetSamples()
	known := 0
	for _, one := range got {
		if one.GetState() != "" {
			known++
		}
	}
	if known < 4 || known > 5 || got[len(got)-1].GetState() == "" {
		t.Errorf("%d steps of two minutes are known", known)
	}
	if ago := now.Wall.Sub(got[len(got)-1].GetTime().AsTime()); ago < 29*time.Second || ago > 61*time.Second {
		t.Errorf("the last step began %v ago", ago)
	}
}
