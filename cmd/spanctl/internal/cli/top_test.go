package cli

import (
	"context"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/cmd/spanctl/agentpb/agentpbconnect"
	"github.com/spanmesh/span/cmd/spanctl/internal/agent"
	"github.com/spanmesh/span/cmd/spanctl/internal/healthtext/healthtest"
	"github.com/spanmesh/span/cmd/spanctl/internal/top"
)

func TestTopNeedsATerminal(t *testing.T) {
	wantFailure(t, exitNoAnswer, "the output is no terminal: for a script, use `spanctl status`", "top")
	wantFailure(t, exitNoAnswer, `--color is "red": want auto, always, never`, "top", "--color", "red")
	wantFailure(t, exitNoAnswer, "`spanctl top` is about one machine at a time: want --host", "top", "-n", "a,b")
}

// watched is an agent that is looked at.
type watched struct {
	agentpbconnect.UnimplementedAgentServiceHandler
	// connections counts those to it.
	connections atomic.Int32
}

func (*watched) GetHealth(context.Context, *connect.Request[agentpb.GetHealthRequest]) (*connect.Response[agentpb.GetHealthResponse], error) {
	return connect.NewResponse(healthtest.Sample()), nil
}

func (*watched) GetSamples(context.Context, *connect.Request[agentpb.GetSamplesRequest]) (*connect.Response[agentpb.GetSamplesResponse], error) {
	rtt := 0.0112
	return connect.NewResponse(&agentpb.GetSamplesResponse{Peers: []*agentpb.PeerSamples{{PublicKey: "a", Samples: []*agentpb.Sample{
		{Time: timestamppb.New(healthtest.At), State: "up", RttSeconds: &rtt}, {Time: timestamppb.New(healthtest.At.Add(30 * time.Second)), State: "down"}}}}}), nil
}

// List has resources as the agent writes them.
func (*watched) List(_ context.Context, r *connect.Request[agentpb.ListRequest]) (*connect.Response[agentpb.ListResponse], error) {
	at := healthtest.At.Format(time.RFC3339Nano)
	specs := map[string]map[string]any{
		"Events":               {"severity": "Warning", "reason": "PeerDown", "object": "db2", "message": "silent", "count": 2, "firstTimestamp": at, "lastTimestamp": at},
		"KubeSpanPeerStatuses": {"nodeID": "id", "address": "fd89::1", "lastEndpointChange": at},
		"KubeSpanPeerSpecs":    {"endpoints": []any{"203.0.113.9:51820"}, "refusedEndpoints": []any{map[string]any{"endpoint": "10.0.0.1:51820", "reason": "is local"}}},
	}
	spec, err := structpb.NewStruct(specs[r.Msg.GetType()])
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&agentpb.ListResponse{Resources: []*agentpb.Resource{{Spec: spec}}}), nil
}

func (*watched) Diff(context.Context, *connect.Request[agentpb.DiffRequest]) (*connect.Response[agentpb.DiffResponse], error) {
	return connect.NewResponse(&agentpb.DiffResponse{ConfigError: "machine.cue:5:7: \x1b[2J", Plan: &agentpb.Plan{Changes: []*agentpb.Change{
		{Action: "create", Kind: "peer", Id: "key", Label: "db\x1b2", Fields: []*agentpb.Field{{Name: "endpoint", To: "203.0.113.9:51820"}}}}}}), nil
}

// TestTopSource asks where no agent runs, and again once one does.
func TestTopSource(t *testing.T) {
	listener, socket := listenAt(t)
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SPANCTL_CONFIG", t.TempDir()+"/machine.cue")
	c := &connector{globals: globals{socket: socket, stateDir: t.TempDir(), wireguard: "auto", logLevel: "error", logFormat: "text"}, logTo: os.Stderr}
	client, end := c.client()
	defer func() {
		if err := end(); err != nil {
			t.Error(err)
		}
	}()
	source := &topSource{session: &agentSession{AgentServiceClient: client, connector: c}}
	h, err := source.Health(t.Context())
	if err != nil || h.GetState() != agent.StateNoAgent {
		t.Fatalf("without an agent: %v, %v", h, err)
	}

	listener, err = (&net.ListenConfig{}).Listen(context.WithoutCancel(t.Context()), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	a := &watched{}
	mux := http.NewServeMux()
	mux.Handle(agentpbconnect.NewAgentServiceHandler(a))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute, ConnContext: func(ctx context.Context, _ net.Conn) context.Context {
		a.connections.Add(1)
		return ctx
	}}
	go func() { _ = server.Serve(listener) }() // it ends with Close
	defer func() { _ = server.Close() }()

	if h, err = source.Health(t.Context()); err != nil || h.GetState() != "healthy" {
		t.Errorf("with an agent: %v, %v", h, err)
	}
	events, err := source.Events(t.Context())
	if diff := cmp.Diff([]top.Event{{Warning: true, Reason: "PeerDown", Object: "db2", Message: "silent", Count: 2, Last: healthtest.At}}, events); diff != "" || err != nil {
		t.Errorf("events: %v, -want +got:\n%s", err, diff)
	}
	details, err := source.Details(t.Context(), "a")
	if diff := cmp.Diff(top.Details{NodeID: "id", Address: "fd89::1", Endpoints: []string{"203.0.113.9:51820"}, Refused: []string{"10.0.0.1:51820: is local"}, Moved: healthtest.At}, details); diff != "" || err != nil {
		t.Errorf("details: %v, -want +got:\n%s", err, diff)
	}
	samples, err := source.Samples(t.Context())
	if diff := cmp.Diff(map[string][]top.Sample{"a": {{Time: healthtest.At, State: "up", RTT: 0.0112}, {Time: healthtest.At.Add(30 * time.Second), State: "down"}}}, samples); diff != "" || err != nil {
		t.Errorf("samples: %v, -want +got:\n%s", err, diff)
	}
	lines, err := source.Diff(t.Context())
	want := "this is about the config in force, not the config file:\nmachine.cue:5:7: \\x1b[2J\n--- kernel\n+++ the config in force\n+peer key (db\\x1b2)\n+  endpoint 203.0.113.9:51820"
	if got := strings.Join(lines, "\n"); got != want || err != nil {
		t.Errorf("the diff is %v:\n%s", err, got)
	}
	if n := a.connections.Load(); n != 1 {
		t.Errorf("all that took %d connections", n)
	}
}
