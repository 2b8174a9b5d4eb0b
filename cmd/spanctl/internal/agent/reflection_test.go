package agent

import (
	"context"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"connectrpc.com/grpcreflect"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/cmd/spanctl/agentpb/agentpbconnect"
)

// overSocket returns a client of a server at a unix socket, by HTTP/2 as gRPC needs it.
func overSocket(t *testing.T, socket string) *http.Client {
	t.Helper()
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: protocols, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// onlyVersion is a client that knows one version of the protocol.
type onlyVersion struct {
	*http.Client
	version string
}

func (c onlyVersion) Do(r *http.Request) (*http.Response, error) {
	if !strings.Contains(r.URL.Path, "."+c.version+".") {
		return &http.Response{StatusCode: http.StatusNotFound, Body: http.NoBody, Request: r}, nil
	}
	return c.Client.Do(r)
}

// TestReflection learns the API from the socket alone, by both versions of the protocol.
func TestReflection(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	listener, err := listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- serve(ctx, listener, newBench(t).service) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	want := agentpb.File_spanctl_agent_v1_agent_proto
	for _, version := range []string{"v1", "v1alpha"} {
		stream := grpcreflect.NewClient(onlyVersion{overSocket(t, socket), version}, "http://spanctl", connect.WithGRPC()).NewStream(t.Context())
		services, err := stream.ListServices()
		if err != nil || !slices.Equal(services, []protoreflect.FullName{agentpbconnect.AgentServiceName}) {
			t.Fatalf("%s: the services are %v, %v", version, services, err)
		}
		files, err := stream.FileContainingSymbol(services[0])
		if err != nil {
			t.Fatal(err)
		}
		is := func(f *descriptorpb.FileDescriptorProto) bool { return f.GetName() == want.Path() }
		if at := slices.IndexFunc(files, is); at < 0 || len(files[at].GetService()[0].GetMethod()) != want.Services().Get(0).Methods().Len() ||
			len(files[at].GetMessageType()) != len(protodesc.ToFileDescriptorProto(want).GetMessageType()) {
			t.Errorf("%s: %v does not have the service", version, files)
		}
		if _, err := stream.Close(); err != nil {
			t.Error(err)
		}
	}
}
