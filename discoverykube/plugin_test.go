package discoverykube

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"k8s.io/klog/v2"
)

// plugin is a credential plugin: a program that client-go runs for a token.
type plugin struct {
	t   *testing.T
	dir string
}

// command returns the path of the program.
func (p plugin) command() string { return filepath.Join(p.dir, "plugin") }

// write makes the program run a shell script.
func (p plugin) write(script string) {
	p.t.Helper()
	// It is renamed into place: the kernel runs no program that is open for writing.
	unfinished := filepath.Join(p.dir, "unfinished")
	if err := os.WriteFile(unfinished, []byte("#!/bin/sh\necho run >> "+p.dir+"/runs\n"+script), 0o700); err != nil {
		p.t.Fatal(err)
	}
	if err := os.Rename(unfinished, p.command()); err != nil {
		p.t.Fatal(err)
	}
}

// grant makes the program print a token; expiry is empty for a token that does not expire.
func (p plugin) grant(token, expiry string) {
	p.t.Helper()
	status := fmt.Sprintf(`"token": %q`, token)
	if expiry != "" {
		status += fmt.Sprintf(`, "expirationTimestamp": %q`, expiry)
	}
	p.write("cat <<END\n" + `{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {` + status + "}}\nEND\n")
}

// runs returns how often the program ran.
func (p plugin) runs() int {
	p.t.Helper()
	text, err := os.ReadFile(filepath.Join(p.dir, "runs"))
	if err != nil {
		p.t.Fatal(err)
	}
	return bytes.Count(text, []byte("\n"))
}

// runWithPlugin starts a client whose kubeconfig names the program.
func runWithPlugin(t *testing.T, f *fakeAPI, p plugin) testClient {
	t.Helper()
	return runWithCommand(t, f, p.dir, "./plugin")
}

// runWithCommand starts a client whose kubeconfig in dir names the command of a plugin. The
// argument differs for each test: client-go keeps the credentials of equal commands.
func runWithCommand(t *testing.T, f *fakeAPI, dir, command string) testClient {
	t.Helper()
	kubeconfig := filepath.Join(dir, "kubeconfig")
	writeKubeconfig(t, kubeconfig, f.serve(t), "exec: {apiVersion: client.authentication.k8s.io/v1, command: "+command+", args: ["+dir+"], interactiveMode: Never}")
	return run(t, kubeconfig)
}

// TestExecCredentials has a token that expires, and one that the API server rejects before
// it expires.
func TestExecCredentials(t *testing.T) {
	t.Parallel()
	p := plugin{t, t.TempDir()}
	p.grant("first", "2020-01-01T00:00:00Z")
	f := &fakeAPI{token: "first", nodes: []string{wire("a", "1")}}
	c := runWithPlugin(t, f, p)
	c.awaitNodeIDs(t, "1")
	if c.dials.Load() == 0 {
		t.Error("the connection has no firewall mark")
	}

	p.grant("second", "")
	f.set("second", wire("b", "2"))
	c.NetworkChanged()
	c.awaitNodeIDs(t, "2")
	runs := p.runs()
	f.set("second", wire("c", "3"))
	c.NetworkChanged()
	c.awaitNodeIDs(t, "3")
	if again := p.runs(); again != runs {
		t.Errorf("the plugin ran %d times for a token that had not expired", again-runs)
	}

	p.grant("third", "")
	f.set("third", wire("d", "4"))
	c.NetworkChanged()
	c.awaitNodeIDs(t, "4")
	for _, token := range []string{"first", "second", "third"} {
		if strings.Contains(c.logs.String(), token) {
			t.Errorf("the token %q is logged:\n%s", token, c.logs)
		}
	}
}

// TestExecPluginFails has no plugin at first, then one that fails and prints secrets, and
// then one that works.
func TestExecPluginFails(t *testing.T) {
	t.Parallel()
	p := plugin{t, t.TempDir()}
	f := &fakeAPI{token: "t", nodes: []string{wire("a", "1")}}
	c := runWithPlugin(t, f, p)
	c.logs.await(t, p.command()+": no such file or directory")
	p.write("echo hunter2; echo hunter2 >&2; exit 3\n")
	c.logs.await(t, p.command()+" failed with exit code 3")
	p.write("echo hunter2; echo 'status: *hunter2'\n")
	c.logs.await(t, "decoding stdout")
	p.grant("t", "")
	c.awaitNodeIDs(t, "1")
	c.logs.await(t, "kubernetes registry reachable")
	if text := c.logs.String(); strings.Contains(text, "hunter2") {
		t.Errorf("the log has what the plugin printed:\n%s", text)
	}
}

// TestPluginNotInstalled has a plugin that is not in PATH, which is installed later.
func TestPluginNotInstalled(t *testing.T) {
	p := plugin{t, t.TempDir()}
	t.Setenv("PATH", p.dir+":"+os.Getenv("PATH"))
	f := &fakeAPI{token: "t", nodes: []string{wire("a", "1")}}
	c := runWithCommand(t, f, p.dir, "plugin")
	c.logs.await(t, "getting credentials: exec: executable plugin not found\"\n")
	p.grant("t", "")
	c.awaitNodeIDs(t, "1")
}

// TestPluginHangs has requests that the plugin keeps waiting for ever.
func TestPluginHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var abandoned atomic.Int32
		resume := make(chan struct{})
		transport := &boundedTransport{plugin: "aws", abandoned: &abandoned, next: roundTripper(func(*http.Request) (*http.Response, error) {
			<-resume
			return nil, errors.New("late")
		})}
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://192.0.2.1/", nil)
		if err != nil {
			t.Fatal(err)
		}
		for range maxAbandoned {
			if _, err := transport.RoundTrip(request); err == nil || !strings.Contains(err.Error(), `no answer within 2m0s (credential plugin: "aws")`) { //nolint:bodyclose // there is none
				t.Errorf("got %v", err)
			}
		}
		if _, err := transport.RoundTrip(request); err == nil || !strings.Contains(err.Error(), `8 requests wait for the credential plugin "aws"`) { //nolint:bodyclose // there is none
			t.Errorf("got %v", err)
		}
		close(resume)
		synctest.Wait()
		if _, err := transport.RoundTrip(request); err == nil || err.Error() != "late" { //nolint:bodyclose // there is none
			t.Errorf("got %v", err)
		}
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestKlog has what client-go logs at debug level, without requests and answers.
func TestKlog(t *testing.T) {
	var text bytes.Buffer
	log := slog.New(slog.NewTextHandler(&text, &slog.HandlerOptions{Level: slog.LevelDebug}))
	klog.SetSlogLogger(slog.New(debugHandler{log.Handler()}))
	t.Cleanup(func() { klog.SetSlogLogger(slog.New(slog.DiscardHandler)) })
	klog.ErrorS(errors.New("why"), "what", "key", "value")
	klog.Background().V(8).Info("Response body", "body", "hunter2")
	if got := text.String(); !strings.Contains(got, `level=DEBUG msg=what`) || !strings.Contains(got, "err=why") || strings.Contains(got, "hunter2") {
		t.Errorf("logged is %q", got)
	}
}
