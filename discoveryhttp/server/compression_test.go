package server_test

import (
	"net/http"
	"strings"
	"testing"

	"connectrpc.com/connect"

	"github.com/spanmesh/span/discoveryhttp/serverpb"
	"github.com/spanmesh/span/discoveryhttp/serverpb/serverpbconnect"
)

// TestCompressionIsRefused expects an error that says what is taken instead.
func TestCompressionIsRefused(t *testing.T) {
	url, _ := start(t)
	for name, options := range map[string][]connect.ClientOption{
		"Connect":       {connect.WithSendGzip()},
		"Connect, JSON": {connect.WithSendGzip(), connect.WithProtoJSON()},
		"gRPC-Web":      {connect.WithSendGzip(), connect.WithGRPCWeb()},
	} {
		t.Run(name, func(t *testing.T) {
			client := serverpbconnect.NewClusterClient(http.DefaultClient, url, options...)
			expectRefusedCompression := func(what string, err error) {
				if connect.CodeOf(err) != connect.CodeUnimplemented || !strings.Contains(err.Error(), `compression "gzip" is not supported: send identity`) {
					t.Errorf("%s: %v", what, err)
				}
			}
			_, err := client.AffiliateUpdate(t.Context(), updateRequest("c", "a", strings.Repeat("x", 1000)))
			expectRefusedCompression("a call", err)
			stream, err := client.Watch(t.Context(), connect.NewRequest(&serverpb.WatchRequest{ClusterId: "c"}))
			if err == nil {
				defer func() { _ = stream.Close() }()
				if stream.Receive() {
					t.Error("a compressed watch is served")
				}
				err = stream.Err()
			}
			expectRefusedCompression("a stream", err)
		})
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+serverpbconnect.ClusterHelloProcedure, strings.NewReader(`{"clusterId":"c"}`))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Content-Encoding", "identity")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		t.Errorf("a request without compression that says so gets %s", response.Status)
	}
}
