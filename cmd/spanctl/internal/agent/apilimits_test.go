package agent

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"connectrpc.com/connect"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/cmd/spanctl/agentpb/agentpbconnect"
)

// slowHealth answers a call for each element of let. Each call first adds one to called.
type slowHealth struct{ called, let chan struct{} }

func (s slowHealth) Health(ctx context.Context) *agentpb.GetHealthResponse {
	s.called <- struct{}{}
	select {
	case <-s.let:
	case <-ctx.Done():
	}
	return &agentpb.GetHealthResponse{State: "healthy"}
}

func TestLimitsOfTheAPI(t *testing.T) {
	a := newReadAPI(t)
	a.serve(t)
	const health = agentpbconnect.AgentServiceGetHealthProcedure
	if got := a.post(t, health, "Bearer "+goodToken, strings.NewReader(`{"x":"`+strings.Repeat("x", maxAPIRequest)+`"}`)); got.status != http.StatusTooManyRequests || !strings.Contains(got.text, "larger than 65536 bytes") {
		t.Errorf("a large request is answered with %d %s", got.status, got.text)
	}
	slow, _ := io.Pipe()
	if got := a.post(t, health, "Bearer "+goodToken, slow); got.status != http.StatusGatewayTimeout || !strings.Contains(got.text, "did not come in time") {
		t.Errorf("a slow request is answered with %d %s", got.status, got.text)
	}

	var streams []*connect.ServerStreamForClient[agentpb.WatchResponse]
	client := a.client(t, goodToken, connect.WithGRPC())
	other := a.client(t, goodToken, connect.WithGRPC())
	for i := range maxAPIStreams + 1 {
		if i >= maxConnStreams {
			client = other
		}
		if i >= 2*maxConnStreams {
			client = a.client(t, goodToken, connect.WithGRPC())
		}
		stream, err := client.Watch(t.Context(), connect.NewRequest(&agentpb.WatchRequest{Type: "peers"}))
		if err != nil {
			t.Fatal(err)
		}
		streams = append(streams, stream)
		if there := stream.Receive(); there != (i < maxAPIStreams) {
			t.Fatalf("stream %d: %v, %v", i, there, stream.Err())
		}
	}
	if err := streams[maxAPIStreams].Err(); connect.CodeOf(err) != connect.CodeResourceExhausted {
		t.Errorf("one too many is answered with %v", err)
	}
	for _, s := range streams {
		_ = s.Close()
	}
}

// TestCallsWait has as many calls under way as may be: the next one is answered after the first.
func TestCallsWait(t *testing.T) {
	a := newReadAPI(t)
	slow := slowHealth{called: make(chan struct{}, 1), let: make(chan struct{})}
	a.service.health = slow
	a.serve(t)
	answered := make(chan error)
	client := a.client(t, goodToken, connect.WithGRPC())
	for range maxAPICalls + 1 {
		go func() {
			_, err := client.GetHealth(t.Context(), connect.NewRequest(&agentpb.GetHealthRequest{}))
			answered <- err
		}()
	}
	for range maxAPICalls {
		<-slow.called
	}
	select {
	case <-slow.called:
		t.Error("one too many is under way")
	case err := <-answered:
		t.Errorf("one is answered: %v", err)
	default:
	}
	for i := range maxAPICalls + 1 {
		slow.let <- struct{}{}
		if i == 0 {
			<-slow.called // the one that waited
		}
		if err := <-answered; err != nil {
			t.Error(err)
		}
	}
}
