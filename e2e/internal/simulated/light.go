package simulated

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/spanmesh/span/discoveryhttp/payload"
	"github.com/spanmesh/span/discoveryhttp/serverpb"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/retry"
)

// light is a machine that publishes itself, watches, and knows who is there.
type light struct {
	number int
	id     string
	*gate
	calls  *caller
	cipher *payload.Cipher
	local  mesh.Affiliate

	// stop ends the goroutine of start, and done is closed when it has ended.
	stopRun context.CancelFunc
	done    chan struct{}
	// sequence is that of the last publication.
	sequence payload.Sequence

	mu sync.Mutex
	// known are the machines that the server has sent on this connection, itself among them.
	known Set
	// following is set while a watch is up that has sent its snapshot.
	following bool
}

func newLight(c *Cluster, number int, traffic *Traffic) (machine, error) {
	identity, err := c.identity(number)
	if err != nil {
		return nil, err
	}
	cipher, err := payload.NewCipher(c.secret)
	if err != nil {
		return nil, err
	}
	token, err := payload.MemberToken(c.secret, c.config.Cluster.ID)
	if err != nil {
		return nil, err
	}
	local, _ := mesh.LocalAffiliate(identity, c.config.KubeSpan(), host(number), nil, mesh.Outside{}, mesh.Node{})
	local.KubeSpan.KnowsRelays = true
	g := newGate(number, traffic)
	return &light{number: number, id: identity.NodeID, gate: g, calls: newCaller(c, token, g), cipher: cipher, local: local}, nil
}

// start implements machine.
func (g *light) start() error {
	ctx, stop := context.WithCancel(context.Background())
	g.stopRun, g.done = stop, make(chan struct{})
	update, err := g.publication(false)
	if err != nil {
		stop()
		return err
	}
	go func() {
		defer close(g.done)
		g.run(ctx, update)
	}()
	return nil
}

// publication returns the next publication, or the last one.
func (g *light) publication(left bool) (*serverpb.AffiliateUpdateRequest, error) {
	g.sequence = g.sequence.Next(time.Now())
	a := g.local
	if left {
		a = mesh.Affiliate{NodeID: g.id}
	}
	sealed, err := g.cipher.SealAffiliate(a, payload.Stamp{Sequence: g.sequence, Left: left})
	if err != nil {
		return nil, err
	}
	update := &serverpb.AffiliateUpdateRequest{ClusterId: clusterID, AffiliateId: g.id, AffiliateData: sealed, Ttl: durationpb.New(affiliateTTL)}
	for _, e := range a.KubeSpan.Endpoints {
		endpoint, err := g.cipher.SealEndpoint(e)
		if err != nil {
			return nil, err
		}
		update.AffiliateEndpoints = append(update.AffiliateEndpoints, endpoint)
	}
	return update, nil
}

// run follows the server until ctx ends, with the pauses of the client of discovery.
func (g *light) run(ctx context.Context, update proto.Message) {
	pauses := retry.New(firstPause, longestPause)
	defer g.calls.transport.CloseIdleConnections()
	for {
		started := time.Now()
		_ = g.watch(ctx, update) // always ends with an error, and is repeated
		g.forget()
		if ctx.Err() != nil {
			return
		}
		if time.Since(started) > longestPause {
			pauses.Reset()
		}
		_ = retry.Wait(ctx, pauses.Next(), nil)
		if ctx.Err() != nil {
			return
		}
	}
}

// watch says hello, watches, and publishes once it knows who is there.
func (g *light) watch(ctx context.Context, update proto.Message) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := g.calls.call(ctx, "Hello", &serverpb.HelloRequest{ClusterId: clusterID, ClientVersion: "spanctl/fleet"}); err != nil {
		return err
	}
	response, err := g.calls.open(ctx, "Watch", &serverpb.WatchRequest{ClusterId: clusterID})
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	var publishing sync.WaitGroup
	defer publishing.Wait()
	defer cancel()
	s := newStream(response.Body)
	for {
		n, err := s.next()
		if errors.Is(err, io.EOF) {
			return errors.Join(statusOf("Watch", response), io.ErrUnexpectedEOF)
		}
		if err != nil {
			return err
		}
		if begun := g.take(n); begun {
			publishing.Go(func() { g.publish(ctx, update) })
		}
	}
}

// publish publishes until the server has accepted it. A call is not broken off: the server might
// apply it late, after the machine has left.
func (g *light) publish(ctx context.Context, update proto.Message) {
	pauses := retry.New(firstPause, longestPause)
	for g.calls.call(context.WithoutCancel(ctx), "AffiliateUpdate", update) != nil && ctx.Err() == nil {
		_ = retry.Wait(ctx, pauses.Next(), nil)
	}
}

// take takes a message, and reports whether it was the last part of the snapshot.
func (g *light) take(n *news) (begun bool) {
	g.traffic.Messages.Add(1)
	g.traffic.Affiliates.Add(int64(len(n.numbers)))
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, number := range n.numbers {
		if n.deleted {
			g.known.Remove(number)
		} else {
			g.known.Add(number)
		}
	}
	begun = !g.following && !n.more
	g.following = g.following || begun
	return begun
}

// forget forgets all machines.
func (g *light) forget() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.known.Clear()
	g.following = false
}

// stop implements machine.
func (g *light) stop(ctx context.Context, leave bool) error {
	g.stopRun()
	<-g.done
	if !leave {
		return nil
	}
	defer g.calls.transport.CloseIdleConnections()
	last, err := g.publication(true)
	if err != nil {
		return err
	}
	if err := g.calls.call(ctx, "AffiliateUpdate", last); err != nil {
		return err
	}
	return g.calls.call(ctx, "AffiliateDelete", &serverpb.AffiliateDeleteRequest{ClusterId: clusterID, AffiliateId: g.id})
}

// view implements machine. A light machine knows itself, too, once the server has it.
func (g *light) view(all *Set) (v view) {
	g.mu.Lock()
	defer g.mu.Unlock()
	v.following = g.following
	v.lacks, v.extra = g.known.Compare(all, -1)
	return v
}
