package discoverykube

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spanmesh/span/reconciler/mesh"
)

// fakeAPI answers as an API server in what a real one does seldom: lists in several
// pages, watches that are too old, tokens that it does not know any more. Package e2e has
// a real one.
type fakeAPI struct {
	t     *testing.T
	token string

	mu      sync.Mutex
	nodes   []string
	lists   int
	watches chan func(w http.ResponseWriter)
	applied chan string
}

func (f *fakeAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	unknown := r.Header.Get("Authorization") != "Bearer "+f.token
	f.mu.Unlock()
	switch {
	case unknown:
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"kind":"Status","code":401,"reason":"Unauthorized","message":"Unauthorized"}`)
	case r.Method == http.MethodPatch:
		var body struct {
			Metadata struct {
				Name, UID   string
				Annotations map[string]string
			}
		}
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			f.t.Error(err)
		}
		text, err := json.Marshal(map[string]any{"metadata": map[string]any{"name": body.Metadata.Name, "uid": body.Metadata.UID, "annotations": body.Metadata.Annotations}})
		if err != nil {
			f.t.Error(err)
		}
		_, _ = w.Write(text)
		f.applied <- body.Metadata.UID
	case r.URL.Query().Get("watch") != "":
		select {
		case answer := <-f.watches:
			answer(w)
		case <-r.Context().Done():
		}
	default:
		f.list(w, r)
	}
}

// list has one Node a page.
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
	next := ""
	if at+1 < len(f.nodes) {
		next = fmt.Sprint(at + 1)
	}
	fmt.Fprintf(w, `{"metadata":{"resourceVersion":"7","continue":%q},"items":[%s]}`, next, f.nodes[at])
}

func wire(name, id string) string {
	return fmt.Sprintf(`{"metadata":{"name":%q,"uid":"uid-%s","resourceVersion":"8","annotations":{%q:%q,"other":"x"}}}`, name, name, annotationNodeID, id)
}

// started is a client at work on a fake API server.
func started(t *testing.T, f *fakeAPI) (c *Client, kubeconfig string, changed chan struct{}) {
	t.Helper()
	f.t, f.watches, f.applied = t, make(chan func(http.ResponseWriter)), make(chan string, 10)
	server := httptest.NewTLSServer(f)
	t.Cleanup(server.Close)
	kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	writeKubeconfig(t, kubeconfig, server.URL, f.token)
	changed = make(chan struct{}, 100)
	c = NewClient(Options{
		Kubeconfig: kubeconfig, NodeName: "own", NodeID: "own-id", Log: slog.New(slog.DiscardHandler),
		Remembered: Remembered{Affiliates: []mesh.Affiliate{{NodeID: "from before"}}}, Changed: func() { changed <- struct{}{} },
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); c.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return c, kubeconfig, changed
}

func writeKubeconfig(t *testing.T, path, server, token string) {
	t.Helper()
	text := head + fmt.Sprintf("clusters:\n- name: k\n  cluster: {server: %q, insecure-skip-tls-verify: true}\nusers:\n- name: u\n  user: {token: %q}\n", server, token)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// until waits for a change after which the client knows these node IDs.
func until(t *testing.T, c *Client, changed chan struct{}, want ...string) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		var got []string
		for _, a := range c.Affiliates() {
			got = append(got, a.NodeID)
		}
		if strings.Join(got, " ") == strings.Join(want, " ") {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("it knows %q, want %q", got, want)
		}
	}
}

func TestClientFollows(t *testing.T) {
	f := &fakeAPI{token: "t", nodes: []string{wire("own", ""), wire("a", "1"), wire("b", "2")}}
	c, _, changed := started(t, f)
	until(t, c, changed, "1", "2")
	if !c.Complete() {
		t.Error("the Nodes were listed, and it waits for more")
	}
	// One comes, one goes, one is a clone; a bookmark has the version alone.
	f.watches <- func(w http.ResponseWriter) {
		for _, line := range []string{
			`{"type":"ADDED","object":` + wire("c", "3") + `}`,
			`{"type":"DELETED","object":` + wire("a", "1") + `}`,
			`{"type":"MODIFIED","object":` + wire("d", "2") + `}`,
			`{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"9"}}}`,
		} {
			fmt.Fprintln(w, line)
		}
	}
	until(t, c, changed, "2", "3")
	for deadline := time.After(30 * time.Second); !strings.Contains(c.Refused()["2 (Node d)"], "Node b has this node ID"); {
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("refused are %v", c.Refused())
		}
	}
	// The version is too old: it lists anew.
	f.mu.Lock()
	f.nodes = []string{wire("own", ""), wire("e", "5")}
	f.mu.Unlock()
	f.watches <- func(w http.ResponseWriter) {
		fmt.Fprintln(w, `{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"too old resource version"}}`)
	}
	until(t, c, changed, "5")
	// A watch that ends goes on where it was; what cannot be read is no reason to forget.
	f.watches <- func(http.ResponseWriter) {}
	f.watches <- func(w http.ResponseWriter) { fmt.Fprintln(w, `{"type":`) }
	until(t, c, changed, "5")
	f.watches <- func(http.ResponseWriter) {}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.lists != 3 {
		t.Errorf("it listed %d times", f.lists)
	}
}

// TestCredentialsAreReadAgain has the token replaced.
func TestCredentialsAreReadAgain(t *testing.T) {
	f := &fakeAPI{token: "first", nodes: []string{wire("own", ""), wire("a", "1")}}
	c, kubeconfig, changed := started(t, f)
	until(t, c, changed, "1")
	f.mu.Lock()
	f.token, f.nodes = "second", []string{wire("own", ""), wire("b", "2")}
	f.mu.Unlock()
	text, err := os.ReadFile(kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(kubeconfig, []byte(strings.Replace(string(text), "first", "second", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	f.watches <- func(w http.ResponseWriter) {
		fmt.Fprintln(w, `{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired"}}`)
	}
	until(t, c, changed, "2")
}

// TestPublishes writes to the Node that it knows, by its UID, once for each change.
func TestPublishes(t *testing.T) {
	f := &fakeAPI{token: "t", nodes: []string{wire("own", "")}}
	c, _, changed := started(t, f)
	until(t, c, changed)
	for range 3 {
		c.Publish(mesh.Affiliate{NodeID: "own-id"})
	}
	if uid := <-f.applied; uid != "uid-own" {
		t.Errorf("it applied to %q", uid)
	}
	if err := c.Leave(t.Context()); err != nil {
		t.Error(err)
	}
	<-f.applied
	if len(f.applied) != 0 {
		t.Errorf("it applied %d times more", len(f.applied))
	}
}
