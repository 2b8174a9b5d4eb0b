package main

import (
	"context"
	"path/filepath"

	"github.com/spanmesh/span/e2e/internal/process"
)

// The limits of all servers, for every build: rates are off, and a cluster may have as many
// members as join in a measurement.
var serveFlags = []string{"--rate-per-address", "0", "--rate-per-cluster", "0", "--max-affiliates", "10000", "--max-watchers", "12000"}

// server is a discovery server on loopback.
type server struct {
	*process.Process
	address string
}

// serve starts a server of a build with a store.
func serve(ctx context.Context, binary, store string) (*server, error) {
	address, err := process.FreeAddress()
	if err != nil {
		return nil, err
	}
	args := append([]string{"discovery", "serve", "--listen", address, "--store", store}, serveFlags...)
	p, err := process.Launch(ctx, "serving discovery", binary, args...)
	if err != nil {
		return nil, err
	}
	return &server{p, address}, nil
}

// startEtcd starts an etcd without data in dir, and returns its URL.
func startEtcd(ctx context.Context, program, dir string) (url string, p *process.Process, err error) {
	client, err := process.FreeAddress()
	if err != nil {
		return "", nil, err
	}
	peer, err := process.FreeAddress()
	if err != nil {
		return "", nil, err
	}
	url, peer = "http://"+client, "http://"+peer
	p, err = process.Launch(ctx, "ready to serve client requests", program, "--data-dir", filepath.Join(dir, "etcd"), "--listen-client-urls", url,
		"--advertise-client-urls", url, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "default="+peer,
		"--quota-backend-bytes", "4294967296")
	return url, p, err
}
