package ui

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/cmd/spanctl/agentpb/agentpbconnect"
)

// planted is a secret that no answer may have.
const planted = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="

// testAgent answers the API as an agent does, with what a test sets.
type testAgent struct {
	agentpbconnect.UnimplementedAgentServiceHandler

	mu    sync.Mutex
	state string
	peer  string
	// written is the text of the config in force.
	written string
	events  chan *agentpb.WatchResponse
	calls   map[string]int
}

func newTestAgent() *testAgent {
	return &testAgent{state: "healthy", peer: "up", written: "// mine\ncluster: secret: \"" + planted + "\"\n", events: make(chan *agentpb.WatchResponse, 10), calls: map[string]int{}}
}

func (a *testAgent) called(name string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.calls[name]
}

func (a *testAgent) note(name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.calls[name]++
}

func (a *testAgent) set(state, peer string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.state, a.peer = state, peer
}

func (a *testAgent) GetHealth(context.Context, *connect.Request[agentpb.GetHealthRequest]) (*connect.Response[agentpb.GetHealthResponse], error) {
	a.note("GetHealth")
	a.mu.Lock()
	defer a.mu.Unlock()
	return connect.NewResponse(&agentpb.GetHealthResponse{State: a.state, Hostname: "web1", Time: timestamppb.Now(), Peers: []*agentpb.Peer{{Name: "db1", State: a.peer}}}), nil
}

func (a *testAgent) Watch(ctx context.Context, r *connect.Request[agentpb.WatchRequest], stream *connect.ServerStream[agentpb.WatchResponse]) error {
	a.note("Watch " + r.Msg.GetType())
	for {
		select {
		case e := <-a.events:
			if err := stream.Send(e); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (a *testAgent) List(_ context.Context, r *connect.Request[agentpb.ListRequest]) (*connect.Response[agentpb.ListResponse], error) {
	secret := "(hidden)"
	if r.Msg.GetReveal() {
		secret = planted
	}
	spec, err := structpb.NewStruct(map[string]any{"cluster": map[string]any{"secret": secret}})
	return connect.NewResponse(&agentpb.ListResponse{Resources: []*agentpb.Resource{{Spec: spec}}}), err
}

func (a *testAgent) GetConfig(context.Context, *connect.Request[agentpb.GetConfigRequest]) (*connect.Response[agentpb.GetConfigResponse], error) {
	return connect.NewResponse(&agentpb.GetConfigResponse{Filename: "machine.cue", Config: []byte(planted)}), nil
}

func (a *testAgent) History(context.Context, *connect.Request[agentpb.HistoryRequest]) (*connect.Response[agentpb.HistoryResponse], error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return connect.NewResponse(&agentpb.HistoryResponse{Revisions: []*agentpb.Revision{{Number: 7, How: "apply", Filename: "machine.cue", Config: []byte(a.written)}}}), nil
}

func (a *testAgent) Diff(context.Context, *connect.Request[agentpb.DiffRequest]) (*connect.Response[agentpb.DiffResponse], error) {
	return connect.NewResponse(&agentpb.DiffResponse{Plan: &agentpb.Plan{Changes: []*agentpb.Change{{Text: "+route"}}}}), nil
}

func (a *testAgent) GetSamples(_ context.Context, r *connect.Request[agentpb.GetSamplesRequest]) (*connect.Response[agentpb.GetSamplesResponse], error) {
	a.note("GetSamples " + r.Msg.GetPeer() + " " + r.Msg.GetSpan().String())
	return connect.NewResponse(&agentpb.GetSamplesResponse{Peers: []*agentpb.PeerSamples{{Name: r.Msg.GetPeer()}}}), nil
}

func (a *testAgent) Reload(context.Context, *connect.Request[agentpb.ReloadRequest]) (*connect.Response[agentpb.ReloadResponse], error) {
	a.note("Reload")
	return connect.NewResponse(&agentpb.ReloadResponse{Plan: &agentpb.Plan{}}), nil
}

func (a *testAgent) Apply(_ context.Context, r *connect.Request[agentpb.ApplyRequest]) (*connect.Response[agentpb.ApplyResponse], error) {
	a.note(fmt.Sprintf("Apply %s %s %v %x %s", r.Msg.GetFilename(), r.Msg.GetMode(), r.Msg.GetTimeout().AsDuration(), r.Msg.GetBase(), r.Msg.GetConfig()))
	switch text := string(r.Msg.GetConfig()); {
	case strings.Contains(text, "leaks an error"):
		return nil, connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("the key %s, in hexadecimal digits %x, is bad", planted, planted))
	case strings.Contains(text, "leaks an answer"):
		return connect.NewResponse(&agentpb.ApplyResponse{StoredAt: planted, Plan: &agentpb.Plan{Changes: []*agentpb.Change{{Text: "+key " + planted}}}}), nil
	}
	return connect.NewResponse(&agentpb.ApplyResponse{StoredAt: "machine.yaml"}), nil
}

func (a *testAgent) Confirm(context.Context, *connect.Request[agentpb.ConfirmRequest]) (*connect.Response[agentpb.ConfirmResponse], error) {
	return nil, connect.NewError(connect.CodeFailedPrecondition, errors.New("no config is on trial"))
}

// world is an agent, a server about it, and a browser.
type world struct {
	t      *testing.T
	agent  *testAgent
	server *Server
	base   string
	client *http.Client
	// dials is how often the server connected to the machine. While refused is set, it cannot.
	mu      sync.Mutex
	dials   int
	refused error
	conns   []net.Conn
	// seen is all that the server answered.
	seen strings.Builder
}

// newWorld starts them. The browser has shown no token yet.
func newWorld(t *testing.T, write bool) *world {
	t.Helper()
	w := &world{t: t, agent: newTestAgent()}
	socket := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	mux := http.NewServeMux()
	mux.Handle(agentpbconnect.NewAgentServiceHandler(w.agent))
	api := &http.Server{Handler: mux, Protocols: protocols}
	go func() { _ = api.Serve(listener) }()
	t.Cleanup(func() { _ = api.Close() })
	dial := func(ctx context.Context) (net.Conn, error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.refused != nil {
			return nil, w.refused
		}
		w.dials++
		conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
		w.conns = append(w.conns, conn)
		return conn, err
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.server, err = New(tcp, Options{
		Machines: []Machine{{ID: "local", Dial: dial}}, Write: write, Version: "v1",
		Explain: func(err error) error { return err },
		Explanation: func(name string) (string, error) {
			if name != "PeerDown" {
				return "", errors.New("there is no such name")
			}
			return "It was up, and is down.", nil
		},
		YAML:  json.Marshal, // JSON is YAML
		Named: func(_ context.Context, name string, _ []byte) (string, error) { return name + ".cue", nil },
		Log:   slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	w.base = "http://" + tcp.Addr().String()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.server.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the server ended with %v", err)
		}
		if strings.Contains(w.seen.String(), planted) {
			t.Error("an answer has the secret")
		}
	})
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	w.client = &http.Client{Jar: jar}
	return w
}

// setRefused sets whether the machine can be reached; if not, its connections end.
func (w *world) setRefused(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.refused = err; err != nil {
		for _, conn := range w.conns {
			_ = conn.Close()
		}
		w.conns = nil
	}
}

// answer is what came of a request, without the body.
type answer struct {
	Status     string
	StatusCode int
	Header     http.Header
}

// do sends a request, and returns the answer and its body. Headers are pairs of a name and a value.
func (w *world) do(method, path, body string, headers ...string) (answer, string) {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), method, w.base+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			r.Host = headers[i+1]
		}
		r.Header.Set(headers[i], headers[i+1])
	}
	response, err := w.client.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	w.seen.Write(data)
	return answer{response.Status, response.StatusCode, response.Header}, string(data)
}

// post sends JSON as the page does.
func (w *world) post(path, body string) (int, string) {
	w.t.Helper()
	response, text := w.do(http.MethodPost, path, body, "Origin", w.base, "Content-Type", "application/json")
	return response.StatusCode, text
}

// enter shows the browser's token.
func (w *world) enter() {
	w.t.Helper()
	u, err := url.Parse(w.server.NewURL())
	if err != nil {
		w.t.Fatal(err)
	}
	if response, text := w.do(http.MethodGet, u.RequestURI(), ""); response.StatusCode != http.StatusOK {
		w.t.Fatalf("the token is answered with %s: %s", response.Status, text)
	}
}
