package agent

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
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
	"github.com/spanmesh/span/reconciler/condition"
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

// slowHealth is a health that is told once for each element of let. Each call tells of itself first.
type slowHealth struct{ called, let chan struct{} }

func (s slowHealth) Health(ctx context.Context) *agentpb.GetHealthResponse {
	s.called <- struct{}{}
	select {
	case <-s.let:
	case <-ctx.Done():
	}
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

func TestToken(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if _, err := readToken(file); err == nil || !strings.Contains(err.Error(), "cannot be read: stat "+file+": no such file") {
		t.Errorf("without a file: %v", err)
	}
	for _, c := range []struct {
		content string
		mode    os.FileMode
		want    string
	}{
		{goodToken, 0o600, ""},
		{"\n " + goodToken + "\r\n", 0o400, ""},
		{strings.Repeat("~", maxToken), 0o640, ""},
		{goodToken, 0o604, "has mode 0604: others may read or change the token: `chmod 600 " + file + "`"},
		{goodToken, 0o602, "has mode 0602: others may"},
		{goodToken[:31], 0o600, "has no token: write one to it of 32 to 1024 letters"},
		{"", 0o600, "has no token"},
		{goodToken + "\n" + goodToken, 0o600, "has no token"},
		{strings.Repeat("ä", 32), 0o600, "has no token"},
		{strings.Repeat("x", 2000), 0o600, "it is longer than"},
	} {
		if err := errors.Join(os.RemoveAll(file), os.WriteFile(file, []byte(c.content), 0o600), os.Chmod(file, c.mode)); err != nil {
			t.Fatal(err)
		}
		token, err := readToken(file)
		if c.want == "" && (err != nil || token != strings.TrimSpace(c.content)) {
			t.Errorf("%q with mode %04o: %v", c.content, c.mode, err)
		}
		if c.want != "" && (err == nil || token != "" || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), goodToken[:8])) {
			t.Errorf("%q with mode %04o: %v, want %q", c.content, c.mode, err, c.want)
		}
	}
	if _, err := readToken(t.TempDir()); err == nil {
		t.Error("a directory is a token")
	}
}

// TestTokenIsFollowed has no token, then one, then another, then one that others can read.
func TestTokenIsFollowed(t *testing.T) {
	a := newReadAPI(t)
	healthy := func(token string) bool {
		_, err := a.client(t, token).GetHealth(t.Context(), connect.NewRequest(&agentpb.GetHealthRequest{}))
		return err == nil
	}
	found := a.follow(t, a.config(t))
	if len(found) != 1 || found[0].Code != condition.APIUnavailable || found[0].Subject != a.address || !strings.Contains(found[0].Remedy, "openssl rand -hex 32") {
		t.Fatalf("without a token the conditions are %v", found)
	}
	a.write(t, goodToken, 0o600)
	for len(found) > 0 { // it is tried again
		found = a.report(t)
	}
	if !healthy(goodToken) || healthy(otherToken) {
		t.Error("the token does not count")
	}
	stream, err := a.client(t, goodToken).Watch(t.Context(), connect.NewRequest(&agentpb.WatchRequest{Type: "peers"}))
	if err != nil || !stream.Receive() {
		t.Fatalf("nothing comes: %v", err)
	}
	a.write(t, otherToken, 0o400)
	if found := a.report(t); len(found) > 0 {
		t.Errorf("with another token the conditions are %v", found)
	}
	if stream.Receive() {
		t.Error("who has the old token is served")
	}
	if healthy(goodToken) || !healthy(otherToken) {
		t.Error("the other token does not count")
	}
	a.write(t, otherToken, 0o444)
	if found := a.report(t); len(found) != 1 || !strings.Contains(found[0].Cause, "has mode 0444") {
		t.Errorf("with a token that others can read the conditions are %v", found)
	}
	if healthy(otherToken) {
		t.Error("it is served with a token that others can read")
	}
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

func TestConnectionsOfAClient(t *testing.T) {
	listener := boundClients(occupy(t), 2)
	accepted := make(chan net.Conn)
	go func() {
		defer close(accepted)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			accepted <- conn
		}
	}()
	dial := func() net.Conn {
		var dialer net.Dialer
		conn, err := dialer.DialContext(t.Context(), "tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	dial()
	first := <-accepted
	dial()
	<-accepted
	if n, err := dial().Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("a third connection is open: %d, %v", n, err)
	}
	if err := errors.Join(first.Close()); err != nil {
		t.Fatal(err)
	}
	_ = first.Close() // it counts once
	dial()
	<-accepted
	if n, err := dial().Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("another one is open: %d, %v", n, err)
	}
	_ = listener.Close()
	for range accepted {
		t.Error("a connection was accepted")
	}
}
