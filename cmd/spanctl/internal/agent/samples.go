package agent

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/cmd/spanctl/internal/samples"
	"github.com/spanmesh/span/cmd/spanctl/internal/trial"
	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/resource"
)

// sampler keeps the samples of an agent's peers.
type sampler struct {
	// begun is when the agent started. Since then, the times of samples are those of a clock that
	// nobody sets.
	begun trial.Moment

	mu   sync.Mutex
	ring samples.Ring
	// taken are the peers that were taken in last.
	taken []resource.Resource
}

func newSampler(begun trial.Moment) *sampler { return &sampler{begun: begun} }

// time returns the time of a moment, since 1970 by the clock as it was when the agent started.
func (s *sampler) time(now trial.Moment) time.Duration {
	return time.Duration(s.begun.Wall.UnixNano()) + now.Up - s.begun.Up
}

// turned takes in the peers of a turn, if they were read since the last one.
func (s *sampler) turned(now trial.Moment, peers []resource.Resource) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(peers) > 0 && len(peers) == len(s.taken) && &peers[0] == &s.taken[0] {
		return
	}
	s.taken = peers
	s.ring.Add(s.time(now), readings(peers))
}

// readings are what the statuses of peers say.
func readings(peers []resource.Resource) iter.Seq[samples.Reading] {
	return func(yield func(samples.Reading) bool) {
		for i := range peers {
			status, is := peers[i].Spec.(resource.PeerStatus)
			if !is {
				continue // not reached: they are the resources of that type
			}
			percent, known := status.Loss.Value()
			if !yield(samples.Reading{
				Key: peers[i].ID, Name: status.Name, State: status.State, RTT: time.Duration(status.SmoothedRTT),
				Loss: percent / 100, LossKnown: known,
				Received: uint64(max(status.ReceiveBytes, 0)), Transmitted: uint64(max(status.TransmitBytes, 0)),
			}) {
				return
			}
		}
	}
}

// series returns the samples of the peers that want is true for.
func (s *sampler) series(now trial.Moment, span samples.Span, want func(key, name string) bool) []samples.Series {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ring.Series(s.time(now), span, want)
}

// spans are those of the API.
var spans = map[agentpb.SampleSpan]samples.Span{
	agentpb.SampleSpan_SAMPLE_SPAN_UNSPECIFIED: samples.Hour,
	agentpb.SampleSpan_SAMPLE_SPAN_HOUR:        samples.Hour,
	agentpb.SampleSpan_SAMPLE_SPAN_DAY:         samples.Day,
}

// GetSamples implements the API.
func (s *service) GetSamples(ctx context.Context, req *connect.Request[agentpb.GetSamplesRequest]) (*connect.Response[agentpb.GetSamplesResponse], error) {
	return respond(s.getSamples(ctx, req.Msg))
}

func (s *service) getSamples(ctx context.Context, m *agentpb.GetSamplesRequest) (*agentpb.GetSamplesResponse, error) {
	if err := s.runner.Running(); err != nil {
		return nil, err
	}
	span, is := spans[m.GetSpan()]
	if !is {
		return nil, &codedError{connect.CodeInvalidArgument, fmt.Errorf("the span %v is not known", m.GetSpan())}
	}
	store, err := s.runner.Resources(ctx, resource.PeerSpecs)
	if err != nil {
		return nil, err
	}
	now, want := machineNow(), func(string, string) bool { return true }
	if word := m.GetPeer(); word != "" {
		peer, err := findPeer(word, pingPeers(store))
		want = func(key, _ string) bool { return key == peer.Key }
		if isNotFound(err) {
			// It may have left.
			want = func(key, name string) bool { return key == word || strings.EqualFold(name, word) }
			if len(s.samples.series(now, span, want)) > 0 {
				err = nil
			}
		}
		if err != nil {
			return nil, err
		}
	}
	return samplesOf(now.Wall, now.Wall.Add(-s.samples.time(now)), span, s.samples.series(now, span, want)), nil
}

// isNotFound reports whether an error says that there is no such thing.
func isNotFound(err error) bool {
	var coded *codedError
	return errors.As(err, &coded) && coded.code == connect.CodeNotFound
}

// samplesOf shows samples. Their times are since begin.
func samplesOf(now, begin time.Time, span samples.Span, all []samples.Series) *agentpb.GetSamplesResponse {
	response := &agentpb.GetSamplesResponse{ApiVersion: APIVersion, Time: timestamppb.New(now), Step: durationpb.New(span.Step)}
	for _, series := range all {
		shown := &agentpb.PeerSamples{Name: series.Name, PublicKey: series.Key}
		for i := range series.Samples {
			shown.Samples = append(shown.Samples, sampleOf(begin, &series.Samples[i]))
		}
		response.Peers = append(response.Peers, shown)
	}
	return response
}

func sampleOf(begin time.Time, s *samples.Sample) *agentpb.Sample {
	// The wall clock and the other one are not read at the same moment.
	at := begin.Add(s.Begin).Round(time.Second)
	shown := &agentpb.Sample{Time: timestamppb.New(at), State: string(s.State), ReceivedBytes: float64(s.Received), TransmittedBytes: float64(s.Transmitted)}
	if s.RTT > 0 {
		rtt := s.RTT.Seconds()
		shown.RttSeconds = &rtt
	}
	if s.LossKnown {
		loss := s.Loss
		shown.Loss = &loss
	}
	return shown
}

// turns returns what a loop calls after each turn: it passes the turn on, and takes samples.
func (s *sampler) turns(next func(reconciler.Turn)) func(reconciler.Turn) {
	return func(turn reconciler.Turn) {
		s.turned(machineNow(), turn.Peers)
		if next != nil {
			next(turn)
		}
	}
}
