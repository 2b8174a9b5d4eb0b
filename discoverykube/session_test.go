package discoverykube

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/spanmesh/span/reconciler/failure"
	"github.com/spanmesh/span/reconciler/health"
)

// awaitSession waits until the session is as wanted, and returns it.
func (c testClient) awaitSession(t *testing.T, want func(health.Session) bool) health.Session {
	t.Helper()
	for deadline := time.After(time.Minute); ; {
		x := c.Sessions()[0]
		if want(x) {
			return x
		}
		select {
		case <-c.changed:
		case <-deadline:
			t.Fatalf("the session is %+v", x)
		}
	}
}

func TestSessionOfAnAPIServer(t *testing.T) {
	t.Parallel()
	f := &fakeAPI{token: "other", nodes: []string{wire("own", "")}}
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	server := f.serve(t)
	writeKubeconfig(t, kubeconfig, server, "token: first")
	c := run(t, kubeconfig)
	x := c.awaitSession(t, func(x health.Session) bool { return x.State == health.Failed })
	if x.Failure.Class != failure.Unauthorized || x.Failure.Request != "list nodes" || x.URL != server || !x.Heard.IsZero() || x.Failures[failure.Unauthorized] == 0 {
		t.Errorf("with unknown credentials: %+v", x)
	}
	f.set("first", wire("own", ""))
	x = c.awaitSession(t, func(x health.Session) bool { return x.State == health.Connected })
	if x.Heard.IsZero() || x.Failure.Class != "" || x.SkewAt.IsZero() || x.Skew.Abs() > 30*time.Second {
		t.Errorf("connected: %+v", x)
	}
}

func TestRefusedRequestIsNamed(t *testing.T) {
	t.Parallel()
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, `{"apiVersion":"v1","kind":"Status","status":"Failure","code":403,"reason":"Forbidden","message":"nodes is forbidden"}`)
	}))
	t.Cleanup(s.Close)
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	writeKubeconfig(t, kubeconfig, s.URL, "token: t")
	x := run(t, kubeconfig).awaitSession(t, func(x health.Session) bool { return x.State == health.Failed })
	if x.Failure.Class != failure.Forbidden || x.Failure.Request != "list nodes" {
		t.Errorf("got %+v", x)
	}
}
