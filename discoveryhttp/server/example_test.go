package server_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"

	"github.com/spanmesh/span/discoveryhttp/server"
	"github.com/spanmesh/span/discoveryhttp/store"
)

// A discovery server on loopback answers plain HTTP with JSON.
func ExampleRun() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	limits := server.DefaultLimits()
	done := make(chan error)
	go func() {
		done <- server.Run(ctx, []net.Listener{listener}, nil, server.Options{
			Store: store.NewMemory(limits.Store), Limits: limits, Log: slog.New(slog.DiscardHandler),
		})
	}()

	call := func(method, body string) {
		url := "http://" + listener.Addr().String() + "/sidero.discovery.server.Cluster/" + method
		response, err := http.Post(url, "application/json", strings.NewReader(body))
		if err != nil {
			fmt.Println(err)
			return
		}
		defer func() { _ = response.Body.Close() }()
		answer, err := io.ReadAll(response.Body)
		// protojson adds spaces at random.
		fmt.Println(response.Status, strings.ReplaceAll(string(answer), " ", ""), err)
	}
	call("AffiliateUpdate", `{"clusterId": "example", "affiliateId": "node-1", "affiliateData": "c2VhbGVk", "ttl": "1800s"}`)
	call("List", `{"clusterId": "example"}`)

	stop()
	fmt.Println(<-done)
	// Output:
	// 200 OK {} <nil>
	// 200 OK {"affiliates":[{"id":"node-1","data":"c2VhbGVk"}]} <nil>
	// <nil>
}
