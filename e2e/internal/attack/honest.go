package attack

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/metadata"

	"github.com/spanmesh/span/e2e/internal/wire"
)

// Service is what a well-behaved client met.
type Service struct {
	// Updates counts updates that the client's own watch received, Hellos new connections
	// whose first call was answered.
	Updates, Hellos int
	// Failed counts those that were not, within their deadline.
	Failed int
	// P50 and P99 are percentiles of the time from an update to its arrival.
	P50, P99 time.Duration
	// Slowest is the longest time from a new connection to its first answer.
	Slowest time.Duration
	// Failures are the first errors.
	Failures []string
}

const (
	// honestInterval is the time between two updates of the well-behaved client.
	honestInterval = 200 * time.Millisecond
	// honestDeadline bounds a call and its consequences.
	honestDeadline = 5 * time.Second
	// maxFailures is how many errors a Service has.
	maxFailures = 3
	honestID    = "honest"
)

// honest is a well-behaved client.
type honest struct {
	address string
	tls     *tls.Config
	// cluster is one that no attacker knows.
	cluster string
	watched chan []byte

	mu      sync.Mutex
	met     Service
	arrived []time.Duration
}

// honestCommand implements commandHonest. It runs until SIGTERM, and prints a Service.
func honestCommand(args []string) error {
	h := &honest{address: args[0], cluster: hex.EncodeToString(noise(16)), watched: make(chan []byte, 16)}
	if len(args) > 1 {
		var err error
		if h.tls, err = trusting(args[1]); err != nil {
			return err
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM)
	defer stop()
	// The token counts with --auth member.
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+hex.EncodeToString(noise(16)))
	c, err := h.client()
	if err != nil {
		return err
	}
	defer c.Close()
	var group errgroup.Group
	group.Go(func() error { h.watch(ctx, c); return nil })
	group.Go(func() error { h.update(ctx, c); return nil })
	group.Go(func() error { h.hello(ctx); return nil })
	if err := group.Wait(); err != nil {
		return err
	}
	slices.Sort(h.arrived)
	h.met.P50, h.met.P99 = percentile(h.arrived, 50), percentile(h.arrived, 99)
	return json.NewEncoder(os.Stdout).Encode(h.met)
}

func percentile(sorted []time.Duration, p int) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, len(sorted)*p/100)]
}

func (h *honest) client() (wire.Client, error) {
	return wire.NewClient(h.address, h.tls, func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", h.address)
	})
}

// watch passes on what arrives, until ctx ends. It watches again when a watch ends.
func (h *honest) watch(ctx context.Context, c wire.Client) {
	for ctx.Err() == nil {
		err := c.Watch(ctx, h.cluster, func(message []byte) {
			all, _ := wire.Affiliates(message)
			for _, a := range all {
				select {
				case h.watched <- a.Data:
				case <-ctx.Done():
				}
			}
		})
		h.failed(ctx, fmt.Errorf("watch: %w", err))
		Pause(ctx, retryAfter)
	}
}

// update updates an affiliate and awaits its arrival, until ctx ends.
func (h *honest) update(ctx context.Context, c wire.Client) {
	for Pause(ctx, honestInterval) {
		data := noise(256)
		began := time.Now()
		if err := h.updated(ctx, c, data); err != nil {
			h.failed(ctx, err)
			continue
		}
		took := time.Since(began)
		h.mu.Lock()
		h.met.Updates++
		h.arrived = append(h.arrived, took)
		first := h.met.Updates == 1
		h.mu.Unlock()
		if first {
			fmt.Print(begun)
		}
	}
}

func (h *honest) updated(ctx context.Context, c wire.Client, data []byte) error {
	ctx, cancel := context.WithTimeout(ctx, honestDeadline)
	defer cancel()
	if _, err := c.Call(ctx, "AffiliateUpdate", wire.UpdateRequest(h.cluster, honestID, lifetime, data)); err != nil {
		return fmt.Errorf("update: %w", err)
	}
	for {
		select {
		case got := <-h.watched:
			if bytes.Equal(got, data) {
				return nil
			}
		case <-ctx.Done():
			return fmt.Errorf("the arrival of an update: %w", ctx.Err())
		}
	}
}

// hello makes a new connection each second, until ctx ends.
func (h *honest) hello(ctx context.Context) {
	for Pause(ctx, time.Second) {
		began := time.Now()
		if err := h.connect(ctx); err != nil {
			h.failed(ctx, err)
			continue
		}
		took := time.Since(began)
		h.mu.Lock()
		h.met.Hellos++
		h.met.Slowest = max(h.met.Slowest, took)
		h.mu.Unlock()
	}
}

func (h *honest) connect(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, honestDeadline)
	defer cancel()
	c, err := h.client()
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Call(ctx, "Hello", wire.ClusterRequest(h.cluster)); err != nil {
		return fmt.Errorf("hello: %w", err)
	}
	return nil
}

// failed counts a failure, unless it is the end of ctx.
func (h *honest) failed(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.met.Failed++
	if len(h.met.Failures) < maxFailures {
		h.met.Failures = append(h.met.Failures, err.Error())
	}
}

// useInterval is the time between two readings of metrics.
const useInterval = 20 * time.Millisecond

// useCommand implements commandUse. It runs until SIGTERM.
func useCommand(args []string) error {
	scheme, transport := "http", &http.Transport{}
	if len(args) > 1 {
		var err error
		if transport.TLSClientConfig, err = trusting(args[1]); err != nil {
			return err
		}
		scheme = "https"
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM)
	defer stop()
	c := &http.Client{Transport: transport}
	fmt.Print(begun)
	for Pause(ctx, useInterval) {
		response, err := c.Get(scheme + "://" + args[0] + "/metrics")
		if err != nil {
			// A server that recovers from an attack may refuse it.
			continue
		}
		_, _ = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
	}
	return nil
}
