package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/cmd/spanctl/agentpb/agentpbconnect"
)

// listenAt returns a listener in the place of an agent's, and the path of its socket.
func listenAt(t *testing.T) (listener net.Listener, socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "socket")
	var config net.ListenConfig
	listener, err := config.Listen(context.WithoutCancel(t.Context()), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return listener, socket
}

// wantFailure runs spanctl, which must fail with a status and a text.
func wantFailure(t *testing.T, exit int, want string, args ...string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	got := Main(args, strings.NewReader(""), &stdout, &stderr)
	if got != exit || stdout.Len() > 0 || !strings.Contains(stderr.String(), want) {
		t.Errorf("%v: exit %d, %q, %q; want %d, %q", args, got, stdout.String(), stderr.String(), exit, want)
	}
}

// TestAgentThatHangs has a socket that accepts calls, and nobody who answers them.
func TestAgentThatHangs(t *testing.T) {
	_, socket := listenAt(t)
	const want = "has not answered within 20ms"
	wantFailure(t, exitNoAnswer, want, "status", "--socket", socket, "--timeout", "20ms")
	var stdout, stderr bytes.Buffer
	exit := Main([]string{"status", "-o", "json", "--socket", socket, "--timeout", "20ms"}, strings.NewReader(""), &stdout, &stderr)
	if got := stdout.String(); exit != exitNoAnswer || !strings.Contains(got, `"state": "no agent"`) || !strings.Contains(got, `"code": "NoAgent"`) || !strings.Contains(got, want) {
		t.Errorf("status -o json: exit %d, %s%s", exit, got, stderr.String())
	}
	wantFailure(t, exitError, want, "status", "--check", "live", "--socket", socket, "--timeout", "20ms")
	wantFailure(t, exitNoAnswer, want, "wait", "--for", "ready", "--socket", socket, "--timeout", "20ms")
}

// early is an agent that finds the time of a call to be up before its caller does.
type early struct {
	agentpbconnect.UnimplementedAgentServiceHandler
	// answers is set where it answers before.
	answers bool
}

var errEarly = connect.NewError(connect.CodeDeadlineExceeded, errors.New("context deadline exceeded"))

func (early) GetHealth(context.Context, *connect.Request[agentpb.GetHealthRequest]) (*connect.Response[agentpb.GetHealthResponse], error) {
	return nil, errEarly
}

func (e early) Watch(_ context.Context, _ *connect.Request[agentpb.WatchRequest], stream *connect.ServerStream[agentpb.WatchResponse]) error {
	if e.answers {
		if err := stream.Send(&agentpb.WatchResponse{}); err != nil {
			return err
		}
	}
	return errEarly
}

func TestAgentWhoseClockIsAhead(t *testing.T) {
	for _, test := range []struct {
		answers bool
		exit    int
		want    string
		args    []string
	}{
		{true, exitError, "timed out after 1m0s: 0 of 0 peers up", []string{"wait", "--for", "peers=2"}},
		{false, exitNoAnswer, "has not answered within 1m0s", []string{"wait", "--for", "peers=2"}},
		{false, exitNoAnswer, "has not answered within 10s", []string{"status"}},
	} {
		listener, socket := listenAt(t)
		mux := http.NewServeMux()
		mux.Handle(agentpbconnect.NewAgentServiceHandler(early{answers: test.answers}))
		server := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
		go func() { _ = server.Serve(listener) }() // it ends with Close
		wantFailure(t, test.exit, test.want, append(test.args, "--socket", socket)...)
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestExitsOfStates(t *testing.T) {
	for state, want := range map[string]int{"healthy": 0, "starting": 1, "degraded": 1, "broken": 2, "no agent": 3, "": 3} {
		if got := exitOf(state); got != want {
			t.Errorf("%q exits with %d, want %d", state, got, want)
		}
	}
}

func TestWhyAMachineIsNotReady(t *testing.T) {
	down, up := &agentpb.Peer{Name: "a", State: "down"}, &agentpb.Peer{Name: "b", State: "up"}
	blocked := &agentpb.Condition{Code: "UDPBlocked", Severity: "error"}
	for _, c := range []struct {
		health *agentpb.GetHealthResponse
		want   string
	}{
		{&agentpb.GetHealthResponse{State: "healthy", Peers: []*agentpb.Peer{down}}, "not ready: healthy; none of 1 peer is up"},
		{&agentpb.GetHealthResponse{State: "degraded", Peers: []*agentpb.Peer{down, down}, Conditions: []*agentpb.Condition{{Code: "PeerDown", Severity: "warning", Subject: "a"}}},
			"not ready: degraded: PeerDown a; none of 2 peers is up"},
		{&agentpb.GetHealthResponse{State: "broken", Peers: []*agentpb.Peer{down, down}, Conditions: []*agentpb.Condition{blocked}}, "not ready: broken: UDPBlocked"},
		{&agentpb.GetHealthResponse{State: "starting", Peers: []*agentpb.Peer{down, up}}, "not ready: starting"},
	} {
		if err := checked(checkReady, c.health, nil); err == nil || err.Error() != c.want {
			t.Errorf("got %v, want %s", err, c.want)
		}
	}
}

func TestHealthOfSeveralMachinesIsOneList(t *testing.T) {
	answers := []answer{{node: "root@web1", joined: joined{health: json.RawMessage(`{"state":"healthy"}`)}}, {node: "root@web2"}}
	answers[1].stderr.WriteString("spanctl: connect: refused\n")
	for format, want := range map[string]string{
		outputJSON: `{"apiVersion":"spanctl/v1","kind":"List","items":[{"node":"root@web1","health":{"state":"healthy"}},{"node":"root@web2","error":"connect: refused"}]}`,
		outputYAML: "node: root@web1\nhealth:\n    state: healthy\n---\nnode: root@web2\nerror: 'connect: refused'\n",
	} {
		var out bytes.Buffer
		if err := printHealths(&out, format, answers); err != nil {
			t.Fatal(err)
		}
		got := out.String()
		if format == outputJSON {
			var compact bytes.Buffer
			if err := json.Compact(&compact, out.Bytes()); err != nil {
				t.Fatal(err)
			}
			got = compact.String()
		}
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
