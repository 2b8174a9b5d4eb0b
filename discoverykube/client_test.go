package discoverykube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/schema"
)

// fakeAPI is an API server that does what a real one does seldom: lists of several pages,
// watches whose version is too old, tokens that expire. Package e2e has a real one.
type fakeAPI struct {
	t      *testing.T
	server *httptest.Server

	mu    sync.Mutex
	token string
	nodes []string
	lists int
	// selector is the field selector of the last list.
	selector string
	watches  chan answerWatch
	applied  chan string
}

// answerWatch answers a watch that began at a resource version.
type answerWatch func(w http.ResponseWriter, version string)

func (f *fakeAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	unknown := r.Header.Get("Authorization") != "Bearer "+f.token
	f.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	switch {
	case unknown:
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"apiVersion":"v1","kind":"Status","status":"Failure","code":401,"reason":"Unauthorized","message":"Unauthorized"}`)
	case r.Method == http.MethodPatch:
		f.apply(w, r)
	case r.URL.Query().Get("watch") != "":
		_ = http.NewResponseController(w).Flush()
		select {
		case answer := <-f.watches:
			answer(w, r.URL.Query().Get("resourceVersion"))
		case <-r.Context().Done():
		}
	default:
		f.list(w, r)
	}
}

func (f *fakeAPI) apply(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	if query.Get("fieldManager") != "spanctl" || query.Get("force") != "true" || r.Header.Get("Content-Type") != "application/apply-patch+yaml" {
		f.t.Errorf("%s %v is no server-side apply of spanctl", r.URL, r.Header)
	}
	var body struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Metadata   struct {
			Name        string            `json:"name"`
			UID         string            `json:"uid"`
			Annotations map[string]string `json:"annotations"`
		} `json:"metadata"`
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		f.t.Error(err)
	}
	if err := json.NewEncoder(w).Encode(body); err != nil {
		f.t.Error(err)
	}
	f.applied <- body.Metadata.UID
}

// list answers with a page of one Node.
func (f *fakeAPI) list(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	at := 0
	if text := r.URL.Query().Get("continue"); text != "" {
		if _, err := fmt.Sscan(text, &at); err != nil {
			f.t.Error(err)
		}
	} else {
		f.lists++
	}
	f.selector = r.URL.Query().Get("fieldSelector")
	next := ""
	if at+1 < len(f.nodes) {
		next = fmt.Sprint(at + 1)
	}
	fmt.Fprintf(w, `{"apiVersion":"v1","kind":"NodeList","metadata":{"resourceVersion":"7","continue":%q},"items":[%s]}`, next, f.nodes[at])
}

// set replaces the Nodes and the token that is accepted.
func (f *fakeAPI) set(token string, nodes ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.token, f.nodes = token, nodes
}

// wire returns a Node in JSON.
func wire(name, id string) string {
	return fmt.Sprintf(`{"apiVersion":"v1","kind":"Node","metadata":{"name":%q,"uid":"uid-%s","resourceVersion":"8","annotations":{%q:%q,"other":"x"}}}`, name, name, annotationNodeID, id)
}

// expired ends a watch as a real API server does when its version is too old.
func expired(w http.ResponseWriter, _ string) {
	fmt.Fprintln(w, `{"type":"ERROR","object":{"apiVersion":"v1","kind":"Status","status":"Failure","code":410,"reason":"Expired","message":"too old resource version"}}`)
}

// serve starts the API server and returns its URL.
func (f *fakeAPI) serve(t *testing.T) string {
	t.Helper()
	f.t, f.watches, f.applied = t, make(chan answerWatch), make(chan string, 10)
	f.server = httptest.NewUnstartedServer(f)
	f.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	f.server.StartTLS()
	t.Cleanup(f.server.Close)
	return f.server.URL
}

// testClient is a running client with what it logged.
type testClient struct {
	reconciler.Registry
	// dials counts connections that have the firewall mark.
	dials   *atomic.Int32
	changed chan struct{}
	logs    *logs
}

// newTestClient opens the registry.
func newTestClient(t *testing.T, settings schema.KubernetesRegistry, cached []byte) testClient {
	t.Helper()
	c := testClient{dials: new(atomic.Int32), changed: make(chan struct{}, 1), logs: &logs{news: make(chan struct{}, 1)}}
	config := &schema.Config{}
	config.Cluster.Discovery.Registries.Kubernetes = settings
	registry, err := Driver().Open(reconciler.RegistryOptions{
		Config: config, NodeID: "own-id", Cache: cached,
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			c.dials.Add(1)
			return new(net.Dialer).DialContext(ctx, network, address)
		},
		Changed: func() { notify(c.changed) }, Log: slog.New(slog.NewTextHandler(c.logs, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	c.Registry = registry
	return c
}

// run starts a client that knows a node ID from before.
func run(t *testing.T, kubeconfig string) testClient {
	t.Helper()
	c := newTestClient(t, schema.KubernetesRegistry{Kubeconfig: kubeconfig, NodeName: "own"}, []byte(`{"affiliates": [{"nodeId": "from before"}]}`))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); c.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return c
}

// runWithToken starts a client with a static token, and returns its kubeconfig.
func runWithToken(t *testing.T, f *fakeAPI) (testClient, string) {
	t.Helper()
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	writeKubeconfig(t, kubeconfig, f.serve(t), "token: "+f.token)
	return run(t, kubeconfig), kubeconfig
}

func writeKubeconfig(t *testing.T, path, server, user string) {
	t.Helper()
	writeFile(t, path, head+fmt.Sprintf("clusters:\n- name: k\n  cluster: {server: %q, insecure-skip-tls-verify: true}\nusers:\n- name: u\n  user: {%s}\n", server, user))
}

// awaitNodeIDs waits until the client knows these node IDs.
func (c testClient) awaitNodeIDs(t *testing.T, want ...string) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		var got []string
		for _, a := range c.Snapshot().Affiliates {
			got = append(got, a.NodeID)
		}
		if strings.Join(got, " ") == strings.Join(want, " ") {
			return
		}
		select {
		case <-c.changed:
		case <-deadline:
			t.Fatalf("the client knows %q, want %q; it logged:\n%s", got, want, c.logs)
		}
	}
}

// logs has the lines that were logged.
type logs struct {
	mu   sync.Mutex
	text strings.Builder
	news chan struct{}
}

func (l *logs) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer notify(l.news)
	return l.text.Write(line)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// await waits until a text is logged.
func (l *logs) await(t *testing.T, text string) {
	t.Helper()
	for deadline := time.After(30 * time.Second); !strings.Contains(l.String(), text); {
		select {
		case <-l.news:
		case <-deadline:
			t.Fatalf("%q is not logged:\n%s", text, l)
		}
	}
}

func TestClientFollows(t *testing.T) {
	t.Parallel()
	f := &fakeAPI{token: "t", nodes: []string{wire("own", ""), wire("a", "1"), wire("b", "2")}}
	c, _ := runWithToken(t, f)
	c.awaitNodeIDs(t, "1", "2")
	if !c.Snapshot().Complete {
		t.Error("the Nodes were listed, and the client is not complete")
	}
	if c.dials.Load() == 0 {
		t.Error("the connection has no firewall mark")
	}
	// A Node is added, one is deleted, one is a clone. A bookmark has a version only.
	f.watches <- func(w http.ResponseWriter, _ string) {
		for _, line := range []string{
			`{"type":"ADDED","object":` + wire("c", "3") + `}`,
			`{"type":"DELETED","object":` + wire("a", "1") + `}`,
			`{"type":"MODIFIED","object":` + wire("d", "2") + `}`,
			`{"type":"BOOKMARK","object":{"apiVersion":"v1","kind":"Node","metadata":{"resourceVersion":"9"}}}`,
		} {
			fmt.Fprintln(w, line)
		}
	}
	c.awaitNodeIDs(t, "2", "3")
	for deadline := time.After(30 * time.Second); !strings.Contains(c.Snapshot().Refused["2 (Node d)"], "Node b has the same node ID"); {
		select {
		case <-c.changed:
		case <-deadline:
			t.Fatalf("refused are %v", c.Snapshot().Refused)
		}
	}
	// The watch goes on where it ended, until its version is too old.
	f.set("t", wire("own", ""), wire("e", "5"))
	f.watches <- func(w http.ResponseWriter, version string) {
		if version != "9" {
			t.Errorf("the watch goes on at %q", version)
		}
		expired(w, version)
	}
	c.awaitNodeIDs(t, "5")
	// An event that cannot be decoded removes nothing.
	f.watches <- func(w http.ResponseWriter, _ string) { fmt.Fprintln(w, `{"type":`) }
	f.watches <- func(http.ResponseWriter, string) {}
	c.awaitNodeIDs(t, "5")
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.lists != 3 {
		t.Errorf("the client listed %d times", f.lists)
	}
}

// TestTokenReplaced has another token in the kubeconfig.
func TestTokenReplaced(t *testing.T) {
	t.Parallel()
	f := &fakeAPI{token: "first", nodes: []string{wire("own", ""), wire("a", "1")}}
	c, kubeconfig := runWithToken(t, f)
	c.awaitNodeIDs(t, "1")
	f.set("second", wire("own", ""), wire("b", "2"))
	text, err := os.ReadFile(kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, kubeconfig, strings.Replace(string(text), "first", "second", 1))
	f.watches <- expired
	c.awaitNodeIDs(t, "2")
}

// TestAnotherAPIServer has no kubeconfig at first, then one of an API server that goes
// away, and then one of another cluster.
func TestAnotherAPIServer(t *testing.T) {
	t.Parallel()
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	c := run(t, kubeconfig)
	c.logs.await(t, "read the kubeconfig")
	c.awaitNodeIDs(t, "from before")

	first := &fakeAPI{token: "t", nodes: []string{wire("own", ""), wire("a", "1")}}
	writeKubeconfig(t, kubeconfig, first.serve(t), "token: t")
	c.awaitNodeIDs(t, "1")
	c.logs.await(t, "kubernetes registry reachable")
	first.server.Listener.Close()
	first.server.CloseClientConnections()
	c.logs.await(t, "connection refused")

	second := &fakeAPI{token: "t", nodes: []string{wire("own", ""), wire("b", "2")}}
	writeKubeconfig(t, kubeconfig, second.serve(t), "token: t")
	c.awaitNodeIDs(t, "2")
	if text := c.logs.String(); strings.Count(text, "connection refused") != 1 {
		t.Errorf("the fault is logged more than once:\n%s", text)
	}
}

// TestNetworkChanged has the client connect again.
func TestNetworkChanged(t *testing.T) {
	f := &fakeAPI{token: "t", nodes: []string{wire("a", "1")}}
	c, _ := runWithToken(t, f)
	c.awaitNodeIDs(t, "1")
	f.set("t", wire("b", "2"))
	c.NetworkChanged()
	c.awaitNodeIDs(t, "2")
}

// TestPublishes has the client write to its Node, by its UID, once for each change.
func TestPublishes(t *testing.T) {
	f := &fakeAPI{token: "t", nodes: []string{wire("own", "")}}
	c, _ := runWithToken(t, f)
	c.awaitNodeIDs(t)
	for range 3 {
		c.Publish(reconciler.Publication{Local: mesh.Affiliate{NodeID: "own-id"}})
	}
	if uid := <-f.applied; uid != "uid-own" {
		t.Errorf("the annotations were applied to %q", uid)
	}
	if err := c.Leave(t.Context()); err != nil {
		t.Error(err)
	}
	<-f.applied
	if len(f.applied) != 0 {
		t.Errorf("there were %d more writes", len(f.applied))
	}
}

// TestCache hands what one client knew to the next.
func TestCache(t *testing.T) {
	f := &fakeAPI{token: "t", nodes: []string{wire("a", "1"), strings.Replace(wire("own", ""), `"metadata"`, `"spec":{"podCIDRs":["10.42.1.0/24"]},"metadata"`, 1)}}
	c, kubeconfig := runWithToken(t, f)
	c.awaitNodeIDs(t, "1")
	cached, err := c.Cache()
	if err != nil {
		t.Fatal(err)
	}
	next := newTestClient(t, schema.KubernetesRegistry{Kubeconfig: kubeconfig, NodeName: "own", APIServerPort: 6443}, cached).Snapshot()
	if next.Complete || len(next.Affiliates) != 1 || next.Affiliates[0].NodeID != "1" {
		t.Errorf("the next client begins with %+v", next)
	}
	if n := next.Node; n.Name != "own" || n.APIServerPort != 6443 || len(n.PodNetworks) != 1 || n.PodNetworks[0].String() != "10.42.1.0/24" {
		t.Errorf("the next client begins with the Node %+v", n)
	}
}

// TestPodNetworksOnly has the registry disabled, and the networks of the pods wanted.
func TestPodNetworksOnly(t *testing.T) {
	f := &fakeAPI{token: "t", nodes: []string{wire("own", "")}}
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	writeKubeconfig(t, kubeconfig, f.serve(t), "token: t")
	c := newTestClient(t, schema.KubernetesRegistry{Disabled: true, Kubeconfig: kubeconfig, NodeName: "own"}, nil)
	if !c.Snapshot().Complete {
		t.Error("there is nothing to wait for, and the client is not complete")
	}
	if err := c.Fetch(t.Context()); err != nil {
		t.Fatal(err)
	}
	if f.selector != "metadata.name=own" {
		t.Errorf("the client listed %q", f.selector)
	}
	if err := c.Announce(t.Context(), mesh.Affiliate{NodeID: "own-id"}); !errors.Is(err, reconciler.ErrReadOnly) {
		t.Errorf("Announce: %v", err)
	}
	if err := c.Leave(t.Context()); err != nil || len(f.applied) != 0 {
		t.Errorf("Leave: %v, %d writes", err, len(f.applied))
	}
}

// TestUnmarkedDial has an API server that cannot be reached with the firewall mark.
func TestUnmarkedDial(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	fail := func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("no route with the mark")
	}
	conn, err := dialMarked(fail)(t.Context(), "tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	_ = listener.Close()
	if _, err := dialMarked(fail)(t.Context(), "tcp", listener.Addr().String()); err == nil || err.Error() != "no route with the mark" {
		t.Errorf("if neither works: %v", err)
	}
}
