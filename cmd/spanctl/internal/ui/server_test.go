package ui

import (
	"bufio"
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
	"github.com/spanmesh/span/cmd/spanctl/internal/agent"
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
	a.note(fmt.Sprintf("Apply %s %s %v %s", r.Msg.GetFilename(), r.Msg.GetMode(), r.Msg.GetTimeout().AsDuration(), r.Msg.GetConfig()))
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
		Named: func(_ context.Context, name string, _ []byte) (string, error) { return name + ".yaml", nil },
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

func TestTokenBecomesACookie(t *testing.T) {
	w := newWorld(t, false)
	u, err := url.Parse(w.server.NewURL())
	if err != nil || w.base != u.Scheme+"://"+u.Host {
		t.Fatalf("the URL is %s, %v", u, err)
	}
	for name, headers := range map[string][]string{"fetched ahead": {"Sec-Purpose", "prefetch"}, "of another host": {"Host", "evil.example"}} {
		if response, _ := w.do(http.MethodGet, u.RequestURI(), "", headers...); response.StatusCode != http.StatusForbidden || response.Header.Get("Set-Cookie") != "" {
			t.Errorf("%s: %s", name, response.Status)
		}
	}
	if response, _ := w.do(http.MethodHead, u.RequestURI(), ""); response.StatusCode != http.StatusForbidden {
		t.Errorf("HEAD: %s", response.Status)
	}
	response, body := w.do(http.MethodGet, u.RequestURI(), "", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document")
	if response.StatusCode != http.StatusOK || response.Header.Get("Refresh") != "0; url=/" || strings.Contains(body, u.Query().Get("token")) {
		t.Errorf("the token is answered with %s, %v\n%s", response.Status, response.Header, body)
	}
	if cookie := response.Header.Get("Set-Cookie"); !strings.HasSuffix(cookie, "; Path=/; HttpOnly; SameSite=Strict") || strings.Contains(cookie, u.Query().Get("token")) {
		t.Errorf("the cookie is %q", cookie)
	}
	if response, _ = w.do(http.MethodGet, "/", ""); response.StatusCode != http.StatusOK {
		t.Errorf("the page is %s", response.Status)
	}
	w.client.Jar = nil
	if response, body = w.do(http.MethodGet, u.RequestURI(), ""); response.StatusCode != http.StatusUnauthorized || !strings.Contains(body, "was used") {
		t.Errorf("the token is answered a second time with %s: %s", response.Status, body)
	}
}

func TestRequestsThatAreRefused(t *testing.T) {
	w := newWorld(t, true)
	entered := false
	for _, test := range []struct {
		name, method, path, body string
		headers                  []string
		entered                  bool
		status                   int
	}{
		{name: "the page without a cookie", path: "/", status: 401},
		{name: "a file without a cookie", path: "/app.js", status: 401},
		{name: "the API without a cookie", path: "/api/session", status: 401},
		{name: "the stream without a cookie", path: "/api/stream", status: 401},
		{name: "a write without a cookie", method: "POST", path: "/api/machines/local/reload", headers: []string{"Origin", "own", "Content-Type", "application/json"}, status: 401},
		{name: "a cookie that nobody was given", path: "/", headers: []string{"Cookie", "own=x"}, status: 401},
		{name: "a wrong token", path: "/?token=x", status: 401},
		{name: "an empty token", path: "/?token=", status: 401},

		{name: "a foreign Host", path: "/", headers: []string{"Host", "evil.example"}, entered: true, status: 403},
		{name: "a foreign Origin", path: "/api/session", headers: []string{"Origin", "http://evil.example"}, entered: true, status: 403},
		{name: "another site", path: "/api/session", headers: []string{"Sec-Fetch-Site", "cross-site"}, entered: true, status: 403},
		{name: "a write without an Origin", method: "POST", path: "/api/machines/local/reload", headers: []string{"Content-Type", "application/json"}, entered: true, status: 403},
		{name: "a write with a foreign Origin", method: "POST", path: "/api/machines/local/reload", headers: []string{"Origin", "http://evil.example", "Content-Type", "application/json"}, entered: true, status: 403},
		{name: "a form", method: "POST", path: "/api/machines/local/reload", headers: []string{"Origin", "own", "Content-Type", "text/plain"}, entered: true, status: 415},
		{name: "a write by GET", path: "/api/machines/local/reload", entered: true, status: 404},
		{name: "another method", method: "PUT", path: "/api/machines/local/diff", headers: []string{"Origin", "own"}, entered: true, status: 405},
		{name: "another machine", path: "/api/machines/other/diff", entered: true, status: 404},
		{name: "a path out of the files", path: "/../server.go", entered: true, status: 404},
		{name: "an escaped path out of the files", path: "/%2e%2e/server.go", entered: true, status: 404},
		{name: "a path to other files", path: "/dist/app.js", entered: true, status: 404},
		{name: "a name that means nothing", path: "/api/explain/x", entered: true, status: 404},
		{name: "a span that is not known", path: "/api/machines/local/samples?peer=db1&span=year", entered: true, status: 400},
		{name: "a path out of a machine", path: "/api/machines/%2e%2e%2fx/diff", entered: true, status: 404},
		{name: "a body that is too large", method: "POST", path: "/api/machines/local/apply", body: `{"text":"` + strings.Repeat("x", maxBody) + `","mode":"try"}`, headers: []string{"Origin", "own", "Content-Type", "application/json"}, entered: true, status: 413},
		{name: "no JSON", method: "POST", path: "/api/machines/local/apply", body: `text`, headers: []string{"Origin", "own", "Content-Type", "application/json"}, entered: true, status: 400},
		{name: "a field that is not known", method: "POST", path: "/api/machines/local/reload", body: `{"reveal":true}`, headers: []string{"Origin", "own", "Content-Type", "application/json"}, entered: true, status: 400},
		{name: "a mode that is not known", method: "POST", path: "/api/machines/local/apply", body: `{"mode":"staged"}`, headers: []string{"Origin", "own", "Content-Type", "application/json"}, entered: true, status: 400},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.entered && !entered {
				w.enter()
				entered = true
			}
			method := test.method
			if method == "" {
				method = http.MethodGet
			}
			for i, h := range test.headers {
				if h == "own" {
					test.headers[i] = w.base
				}
			}
			response, body := w.do(method, test.path, test.body, test.headers...)
			if response.StatusCode != test.status {
				t.Errorf("the answer is %s, want %d: %.200s", response.Status, test.status, body)
			}
			for name, value := range answerHeaders {
				if got := response.Header.Get(name); got != value {
					t.Errorf("%s is %q", name, got)
				}
			}
		})
	}
	if n := w.agent.called("Reload"); n != 0 {
		t.Errorf("the agent was told to reload %d times", n)
	}
}

func TestPageIsServed(t *testing.T) {
	w := newWorld(t, false)
	w.enter()
	for path, contentType := range map[string]string{"/": "text/html", "/app.js": "text/javascript", "/app.css": "text/css", "/favicon.svg": "image/svg+xml", "/api/session": "application/json"} {
		response, body := w.do(http.MethodGet, path, "")
		if response.StatusCode != http.StatusOK || !strings.HasPrefix(response.Header.Get("Content-Type"), contentType) || body == "" {
			t.Errorf("%s is %s, %s", path, response.Status, response.Header.Get("Content-Type"))
		}
		for name, value := range answerHeaders {
			if got := response.Header.Get(name); got != value {
				t.Errorf("%s: %s is %q", path, name, got)
			}
		}
	}
}

func TestAnswersHaveNoSecrets(t *testing.T) {
	w := newWorld(t, true)
	w.enter()
	for path, want := range map[string]string{
		"/api/session":                `{"version":"v1","write":true,"machines":[{"id":"local","name":"local"}]}`,
		"/api/machines/local/config":  `"text":"// mine\ncluster: secret: \"(hidden)\"\n","editable":true`,
		"/api/machines/local/diff":    `"+route"`,
		"/api/explain/PeerDown":       `{"text":"It was up, and is down."}`,
		"/api/machines/local/history": `"number":7`,

		"/api/machines/local/samples?peer=db%201&span=day": `"peers":[{"name":"db 1"`,
	} {
		if response, body := w.do(http.MethodGet, path, ""); response.StatusCode != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("%s is %s: %s", path, response.Status, body)
		}
	}
	// What the page shows can be applied as it is, and comes back without secrets.
	if status, body := w.post("/api/machines/local/apply", `{"text":"cluster: secret: \"(hidden)\" // changed\n","mode":"try"}`); status != http.StatusOK || !strings.Contains(body, "machine.yaml") {
		t.Errorf("apply is %d: %s", status, body)
	}
	if w.agent.called("Apply page.yaml APPLY_MODE_TRY 1m0s cluster: secret: \""+planted+"\" // changed\n") != 1 {
		t.Errorf("the agent was called: %v", w.agent.calls)
	}
	if status, body := w.post("/api/machines/local/apply", `{"text":"cluster: secret: \"(hidden 2)\"\n","mode":"dry-run"}`); status != http.StatusBadRequest || !strings.Contains(body, "write it in place") {
		t.Errorf("a mark that stands for nothing is %d: %s", status, body)
	}
	// A text whose secrets cannot be told from the rest is not shown.
	w.agent.mu.Lock()
	w.agent.written = "cluster: secret: \"" + planted[:20] + "\" + \"" + planted[20:] + "\""
	w.agent.mu.Unlock()
	if _, body := w.do(http.MethodGet, "/api/machines/local/config", ""); !strings.Contains(body, `"text":"{\"cluster\":{\"secret\":\"(hidden)\"}}","editable":false`) || strings.Contains(body, planted[20:]) {
		t.Errorf("the config is %s", body)
	}
	if status, body := w.post("/api/machines/local/reload", ""); status != http.StatusOK || w.agent.called("Reload") != 1 {
		t.Errorf("reload is %d: %s", status, body)
	}
	if status, body := w.post("/api/machines/local/confirm", "{}"); status != http.StatusConflict || !strings.Contains(body, "no config is on trial") {
		t.Errorf("confirm is %d: %s", status, body)
	}
}

func TestPageOnlyShowsUnlessItMayWrite(t *testing.T) {
	w := newWorld(t, false)
	w.enter()
	for _, name := range []string{"reload", "confirm", "rollback", "apply"} {
		if status, body := w.post("/api/machines/local/"+name, "{}"); status != http.StatusForbidden || !strings.Contains(body, "spanctl ui --write") {
			t.Errorf("%s is %d: %s", name, status, body)
		}
	}
	if len(w.agent.calls) != 0 {
		t.Errorf("the agent was called: %v", w.agent.calls)
	}
}

// sse is an open stream.
type sse struct {
	w    *world
	body io.ReadCloser
	in   *bufio.Reader
}

// open opens a stream.
func (w *world) open() *sse {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, w.base+"/api/stream", nil)
	if err != nil {
		w.t.Fatal(err)
	}
	response, err := w.client.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	if response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != "text/event-stream" {
		w.t.Fatalf("the stream is %s", response.Status)
	}
	w.t.Cleanup(func() { _ = response.Body.Close() })
	return &sse{w, response.Body, bufio.NewReader(response.Body)}
}

// await reads until an event has a text, and returns its name.
func (s *sse) await(text string) (event string) {
	s.w.t.Helper()
	for {
		line, err := s.in.ReadString('\n')
		if err != nil {
			s.w.t.Fatalf("the stream ended before %q: %v", text, err)
		}
		s.w.seen.WriteString(line)
		if name, is := strings.CutPrefix(line, "event: "); is {
			event = strings.TrimSpace(name)
		}
		if strings.HasPrefix(line, "data: ") && strings.Contains(line, text) {
			return event
		}
	}
}

func TestStreamFollowsTheMachine(t *testing.T) {
	w := newWorld(t, false)
	w.enter()
	if n := w.agent.called("GetHealth"); n != 0 {
		t.Errorf("without a page, the agent was asked %d times", n)
	}
	first := w.open()
	if event := first.await(`"name":"db1","publicKey":"","state":"up"`); event != "health" {
		t.Errorf("the event is %q", event)
	}
	spec, err := structpb.NewStruct(map[string]any{"severity": "Warning", "reason": "PeerDown", "object": "db1", "message": "silent", "count": 3, "lastTimestamp": "2026-01-02T03:04:05Z"})
	if err != nil {
		t.Fatal(err)
	}
	w.agent.events <- &agentpb.WatchResponse{Events: []*agentpb.Event{{Resource: &agentpb.Resource{Metadata: &agentpb.Metadata{Id: "1"}, Spec: spec}}}}
	const happened = `{"machine":"local","events":[{"id":"1","time":"2026-01-02T03:04:05Z","type":"Warning","reason":"PeerDown","subject":"db1","message":"silent","count":3}],"reset":true}`
	if event := first.await(happened); event != "events" {
		t.Errorf("the event is %q", event)
	}
	second := w.open()
	second.await(`"state":"up"`)
	second.await(happened)
	w.agent.set("degraded", "down")
	first.await(`"publicKey":"","state":"down"`)
	second.await(`"publicKey":"","state":"down"`)
	if _, body := w.do(http.MethodGet, "/api/session", ""); !strings.Contains(body, `"name":"web1"`) {
		t.Errorf("the session is %s", body)
	}
	if w.mu.Lock(); w.dials != 1 {
		t.Errorf("the server connected %d times for two pages", w.dials)
	}
	w.mu.Unlock()

	w.setRefused(errors.New("no route to web1"))
	first.await(`no route to web1`)
	w.setRefused(nil)
	first.await(`"state":"degraded"`)
	w.agent.set(agent.StateNoAgent, "")
	first.await(`"state":"no agent"`)
	if response, body := w.do(http.MethodGet, "/api/machines/local/diff", ""); response.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("without an agent, diff is %s: %s", response.Status, body)
	}
	w.agent.set("healthy", "up")
	first.await(`"state":"healthy"`)
}

func TestStreamsAreBounded(t *testing.T) {
	w := newWorld(t, false)
	w.enter()
	var open []*sse
	for range maxStreams {
		open = append(open, w.open())
	}
	if response, body := w.do(http.MethodGet, "/api/stream", ""); response.StatusCode != http.StatusTooManyRequests {
		t.Errorf("one stream more is %s: %s", response.Status, body)
	}
	_ = open[0].body.Close()
	for {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.base+"/api/stream", nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := w.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode == http.StatusOK {
			return // the server has seen the end of the first
		}
	}
}
