package agent

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/grpcreflect"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/cmd/spanctl/agentpb/agentpbconnect"
	"github.com/spanmesh/span/cmd/spanctl/internal/statedir"
	"github.com/spanmesh/span/reconciler/resource"
	"github.com/spanmesh/span/schema"
)

const (
	goodToken  = "Zm9yIHRlc3RzIG9ubHk-Zm9yIHRlc3Rz"
	otherToken = "c29tZXRoaW5nIGVsc2U-c29tZXRoaW5n"
)

// wellHealth is the health of a machine without faults.
type wellHealth struct{}

func (wellHealth) Health(context.Context) *agentpb.GetHealthResponse {
	return &agentpb.GetHealthResponse{State: "healthy"}
}

// readAPI is a listener that serves the reading calls to those who have the token in a file.
type readAPI struct {
	*listened
	address, file string
	runner        *sampledRunner
	service       *service
}

func newReadAPI(t *testing.T) *readAPI {
	t.Helper()
	b := newBench(t)
	runner := &sampledRunner{}
	b.service.runner, b.health, b.samples = runner, wellHealth{}, newSampler(machineNow())
	runner.peersAt(1, "db1")
	d := &deps{dir: statedir.At(t.TempDir()), log: slog.New(slog.DiscardHandler)}
	o := d.apiOffer(b.service)
	o.recheck = 10 * time.Millisecond
	free := occupy(t)
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	return &readAPI{listened: listenFor(t, o), runner: runner, service: b.service, address: free.Addr().String(), file: filepath.Join(t.TempDir(), "token")}
}

// write replaces the token.
func (a *readAPI) write(t *testing.T, token string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(a.file+".new", []byte(token+"\n"), mode); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Chmod(a.file+".new", mode), os.Rename(a.file+".new", a.file)); err != nil {
		t.Fatal(err)
	}
}

func (a *readAPI) config(t *testing.T) *schema.Config {
	t.Helper()
	config := listening(t, "")
	config.Machine.API.TokenFile = a.file
	if err := config.Machine.API.Listen.UnmarshalText([]byte(a.address)); err != nil {
		t.Fatal(err)
	}
	return config
}

// serve has the API served to those who have goodToken.
func (a *readAPI) serve(t *testing.T) {
	t.Helper()
	a.write(t, goodToken, 0o600)
	if found := a.follow(t, a.config(t)); len(found) > 0 {
		t.Fatalf("the conditions are %v", found)
	}
}

// tokenTransport sends a token, and speaks HTTP/2 if h2 is set.
type tokenTransport struct {
	token string
	next  *http.Transport
}

func (a tokenTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if a.token != "" {
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", "Bearer "+a.token)
	}
	return a.next.RoundTrip(r)
}

func tokenClient(t *testing.T, token string, h2 bool) *http.Client {
	t.Helper()
	protocols := new(http.Protocols)
	protocols.SetHTTP1(!h2)
	protocols.SetUnencryptedHTTP2(h2)
	transport := &http.Transport{Protocols: protocols}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: tokenTransport{token, transport}}
}

func (a *readAPI) client(t *testing.T, token string, options ...connect.ClientOption) agentpbconnect.AgentServiceClient {
	t.Helper()
	return agentpbconnect.NewAgentServiceClient(tokenClient(t, token, len(options) > 0), "http://"+a.address, options...)
}

// answer is an answer of the API.
type answer struct {
	status             int
	authenticate, text string
}

// post sends a request in JSON with some header.
func (a *readAPI) post(t *testing.T, path, authorization string, body io.Reader) answer {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+a.address+path, body)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	if authorization != "" {
		request.Header.Set("Authorization", authorization)
	}
	request.Close = true
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(response.Body)
	if err = errors.Join(err, response.Body.Close()); err != nil {
		t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header.Get("WWW-Authenticate"), string(text)}
}

func TestReadingCallsNeedTheToken(t *testing.T) {
	a := newReadAPI(t)
	a.serve(t)
	for _, header := range []string{"", "Bearer", "Bearer ", "Bearer " + otherToken, "Bearer " + goodToken[:31], "Bearer " + goodToken + "x", "Basic " + goodToken, goodToken} {
		for _, path := range []string{agentpbconnect.AgentServiceGetHealthProcedure, agentpbconnect.AgentServiceGetConfigProcedure, "/", "/metrics"} {
			got := a.post(t, path, header, strings.NewReader("{}"))
			if got.status != http.StatusUnauthorized || got.authenticate != `Bearer realm="spanctl"` || !strings.Contains(got.text, "Authorization: Bearer TOKEN") {
				t.Errorf("%s with %q is answered with %d %s", path, header, got.status, got.text)
			}
		}
	}
	for _, header := range []string{"Bearer " + goodToken, "bearer " + goodToken} {
		if got := a.post(t, agentpbconnect.AgentServiceGetHealthProcedure, header, strings.NewReader("{}")); got.status != http.StatusOK || got.text != `{"state":"healthy"}` {
			t.Errorf("with the token: %d %s", got.status, got.text)
		}
	}
	for name, options := range map[string][]connect.ClientOption{"Connect": nil, "gRPC": {connect.WithGRPC()}} {
		if _, err := a.client(t, otherToken, options...).GetHealth(t.Context(), connect.NewRequest(&agentpb.GetHealthRequest{})); connect.CodeOf(err) != connect.CodeUnauthenticated {
			t.Errorf("%s without the token: %v", name, err)
		}
		stream, err := a.client(t, otherToken, options...).Watch(t.Context(), connect.NewRequest(&agentpb.WatchRequest{Type: "peers"}))
		if err == nil {
			if stream.Receive() {
				t.Error("there is an answer")
			}
			err = stream.Err()
		}
		if connect.CodeOf(err) != connect.CodeUnauthenticated {
			t.Errorf("%s: Watch without the token: %v", name, err)
		}
	}
}

func TestOnlyReadingCallsAreServed(t *testing.T) {
	a := newReadAPI(t)
	a.serve(t)
	methods := agentpb.File_spanctl_agent_v1_agent_proto.Services().Get(0).Methods()
	for i := range methods.Len() {
		procedure := "/" + agentpbconnect.AgentServiceName + "/" + string(methods.Get(i).Name())
		if _, reads := readingCalls[procedure]; reads {
			continue
		}
		for _, path := range []string{procedure, procedure + "/", "/" + procedure, strings.Replace(procedure, "/", "//", 2)} {
			got := a.post(t, path, "Bearer "+goodToken, strings.NewReader("{}"))
			if s := got.status; s != http.StatusForbidden && s != http.StatusNotFound || path == procedure && !strings.Contains(got.text, `"permission_denied"`) {
				t.Errorf("%s is answered with %d %s", path, got.status, got.text)
			}
		}
	}
	for name, options := range map[string][]connect.ClientOption{"Connect": nil, "gRPC": {connect.WithGRPC()}} {
		client := a.client(t, goodToken, options...)
		if _, err := client.GetConfig(t.Context(), connect.NewRequest(&agentpb.GetConfigRequest{})); connect.CodeOf(err) != connect.CodePermissionDenied {
			t.Errorf("%s: GetConfig: %v", name, err)
		}
		if _, err := client.List(t.Context(), connect.NewRequest(&agentpb.ListRequest{Type: "machineconfigs", Reveal: true})); connect.CodeOf(err) != connect.CodePermissionDenied {
			t.Errorf("%s: List with secrets: %v", name, err)
		}
		if got, err := client.List(t.Context(), connect.NewRequest(&agentpb.ListRequest{Type: "peers"})); err != nil || len(got.Msg.GetResources()) != 1 {
			t.Errorf("%s: List: %v", name, err)
		}
		if _, err := client.GetSamples(t.Context(), connect.NewRequest(&agentpb.GetSamplesRequest{})); err != nil {
			t.Errorf("%s: GetSamples: %v", name, err)
		}
		if _, err := client.GetStatus(t.Context(), connect.NewRequest(&agentpb.GetStatusRequest{})); err != nil {
			t.Errorf("%s: GetStatus: %v", name, err)
		}
		reveal, err := client.Watch(t.Context(), connect.NewRequest(&agentpb.WatchRequest{Type: "identities", Reveal: true}))
		if err == nil {
			reveal.Receive()
			err = reveal.Err()
		}
		if connect.CodeOf(err) != connect.CodePermissionDenied {
			t.Errorf("%s: Watch with secrets: %v", name, err)
		}
	}
}

// TestWatchOverTheListener receives what changes after the first message, for longer than a request
// may take to come.
func TestWatchOverTheListener(t *testing.T) {
	a := newReadAPI(t)
	a.serve(t)
	for name, options := range map[string][]connect.ClientOption{"Connect": nil, "gRPC": {connect.WithGRPC()}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			stream, err := a.client(t, goodToken, options...).Watch(ctx, connect.NewRequest(&agentpb.WatchRequest{Type: "members"}))
			if err != nil || !stream.Receive() {
				t.Fatalf("nothing comes: %v, %v", err, stream.Err())
			}
			go func() {
				select {
				case <-ctx.Done():
				case <-time.After(apiReadTimeout + 500*time.Millisecond): // what is awaited is that this passes
					a.runner.store.Replace(time.Now(), resource.Members, map[string]any{name: resource.Member{Hostname: name}})
				}
			}()
			for stream.Receive() {
				for _, e := range stream.Msg().GetEvents() {
					if e.GetResource().GetMetadata().GetId() == name {
						return
					}
				}
			}
			t.Fatalf("it ends with %v", stream.Err())
		})
	}
}

func TestReflectionNeedsTheToken(t *testing.T) {
	a := newReadAPI(t)
	a.serve(t)
	for token, want := range map[string]connect.Code{goodToken: 0, otherToken: connect.CodeUnauthenticated} {
		stream := grpcreflect.NewClient(tokenClient(t, token, true), "http://"+a.address, connect.WithGRPC()).NewStream(t.Context())
		services, err := stream.ListServices()
		if want == 0 && (err != nil || len(services) != 1) || want != 0 && connect.CodeOf(err) != want {
			t.Errorf("the services are %v, %v", services, err)
		}
		_, _ = stream.Close()
	}
}
