package interop

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
)

// The times of Talos' discovery client (siderolabs/discovery-client, pkg/client).
const (
	talosTTL     = 30 * time.Minute
	helloTimeout = 10 * time.Second
	// refreshTimeout bounds all updates of one refresh together.
	refreshTimeout = 30 * time.Second
	// The back-off before Hello grows by half from the first to the last.
	firstBackoff, lastBackoff = 500 * time.Millisecond, time.Minute
)

// Talos is a discovery client that calls when Talos' does. A watch begins with a back-off and
// Hello. An update is the machine's own, and one call for each harvested endpoint. When one of
// these is refused, the client neither watches nor publishes until half of its TTL.
type Talos struct {
	// Target is the service's host:port, without TLS.
	Target      string
	Cluster, ID string
	// Harvested are IDs of other affiliates. The client publishes an endpoint for each.
	Harvested []string
	// Changed is called when the client learns or loses something, from one goroutine.
	Changed func(TalosState)

	conn    *grpc.ClientConn
	backoff time.Duration
	watch   *talosWatch
	// due is set when the client has to publish.
	due   bool
	state TalosState
}

// TalosState is what a client has come to.
type TalosState struct {
	// Watching is set once a watch has sent its snapshot, until the watch ends.
	Watching bool
	// Published is set after all updates were taken, until the watch ends.
	Published bool
	// Known is the number of other affiliates with data.
	Known int
	// Refused is why the client waits for half of its TTL.
	Refused error
}

// talosWatch is an open watch.
type talosWatch struct {
	cancel  context.CancelFunc
	replies chan talosReply
	// known are the IDs of the other affiliates with data; nil before the snapshot.
	known map[string]bool
}

type talosReply struct {
	message message
	err     error
}

// Run calls the service until ctx ends.
func (c *Talos) Run(ctx context.Context) error {
	ticker := time.NewTicker(talosTTL / 2)
	defer ticker.Stop()
	defer c.disconnect()
	c.due, c.backoff = true, firstBackoff
	for ctx.Err() == nil {
		if c.watch == nil && !c.begin(ctx) {
			continue
		}
		if c.due {
			c.publish(ctx)
		}
		var replies chan talosReply
		if c.watch != nil {
			replies = c.watch.replies
		}
		select {
		case <-ctx.Done():
		case <-ticker.C:
			c.due = true
		case reply := <-replies:
			c.receive(reply)
		}
	}
	return nil
}

// begin says hello after a back-off, and opens a watch.
func (c *Talos) begin(ctx context.Context) bool {
	wait := time.Duration(float64(c.backoff) * (0.5 + rand.Float64()))
	c.backoff = min(c.backoff*3/2, lastBackoff)
	select {
	case <-ctx.Done():
		return false
	case <-time.After(wait):
	}
	if c.conn == nil {
		conn, err := grpc.NewClient(c.Target, grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: talosTTL / 10}),
			grpc.WithDefaultCallOptions(grpc.ForceCodec(rawCodec{})))
		if err != nil {
			return false
		}
		c.conn = conn
	}
	helloCtx, cancel := context.WithTimeout(ctx, helloTimeout)
	defer cancel()
	if err := c.call(helloCtx, "Hello", message{{number: 2, bytes: []byte("v1.12.0")}}); err != nil {
		c.disconnect()
		return false
	}
	watchCtx, cancelWatch := context.WithCancel(ctx)
	c.watch = &talosWatch{cancel: cancelWatch, replies: make(chan talosReply, 1)}
	go c.follow(watchCtx, c.watch.replies)
	return true
}

func (c *Talos) disconnect() {
	if c.watch != nil {
		c.endWatch()
	}
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}

// call calls a method with a request for the client's cluster.
func (c *Talos) call(ctx context.Context, method string, request message) error {
	in := append(message{{number: 1, bytes: []byte(c.Cluster)}}, request...).encode()
	var answer []byte
	if err := c.conn.Invoke(ctx, "/"+service+"/"+method, &in, &answer); err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	return nil
}

// publish sends all updates. If one fails, the watch ends, and nothing happens before half of
// the TTL.
func (c *Talos) publish(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, refreshTimeout)
	defer cancel()
	if err := c.update(ctx); err != nil {
		c.endWatch()
		c.state.Refused = err
		c.Changed(c.state)
		return
	}
	c.due, c.backoff = false, firstBackoff
	c.state.Published, c.state.Refused = true, nil
	c.Changed(c.state)
}

func (c *Talos) update(ctx context.Context) error {
	ttl := field{number: 5, bytes: message{{number: 1, varint: uint64(talosTTL / time.Second)}}.encode()}
	own := message{{number: 2, bytes: []byte(c.ID)}, {number: 3, bytes: []byte("sealed " + c.ID)}, {number: 4, bytes: endpointOf(c.ID, c.ID)}, ttl}
	if err := c.call(ctx, "AffiliateUpdate", own); err != nil {
		return err
	}
	for _, id := range c.Harvested {
		if err := c.call(ctx, "AffiliateUpdate", message{{number: 2, bytes: []byte(id)}, {number: 4, bytes: endpointOf(c.ID, id)}, ttl}); err != nil {
			return err
		}
	}
	return nil
}

// endpointOf returns what stands for a sealed endpoint of an affiliate that a machine has seen.
func endpointOf(seenBy, id string) []byte { return fmt.Appendf(nil, "%15.15s %15.15s\n", seenBy, id) }

// follow passes on what a watch sends, until it ends.
func (c *Talos) follow(ctx context.Context, out chan<- talosReply) {
	stream, err := c.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, "/"+service+"/Watch")
	if err == nil {
		request := message{{number: 1, bytes: []byte(c.Cluster)}}.encode()
		err = errors.Join(stream.SendMsg(&request), stream.CloseSend())
	}
	for {
		reply := talosReply{err: err}
		if err == nil {
			var raw []byte
			if reply.err = stream.RecvMsg(&raw); reply.err == nil {
				reply.message, reply.err = decode(raw)
			}
		}
		select {
		case out <- reply:
		case <-ctx.Done():
			return
		}
		if reply.err != nil {
			return
		}
	}
}

func (c *Talos) endWatch() {
	if c.watch != nil {
		c.watch.cancel()
	}
	c.watch = nil
	c.state.Watching, c.state.Published, c.state.Known = false, false, 0
}

// receive takes a message or the end of a watch. After the end, a new watch begins, and the
// client publishes.
func (c *Talos) receive(reply talosReply) {
	if reply.err != nil {
		c.endWatch()
		c.due = true
		if status.Code(reply.err) == codes.ResourceExhausted {
			c.state.Refused = reply.err
		}
		c.Changed(c.state)
		return
	}
	if c.watch.known == nil {
		c.watch.known = map[string]bool{}
		c.state.Watching = true
	}
	deleted := reply.message.get(2).varint == 1
	for _, encoded := range reply.message.all(1) {
		affiliate, err := decode(encoded)
		if err != nil {
			continue
		}
		id := string(affiliate.get(1).bytes)
		switch {
		case id == c.ID:
		case deleted:
			delete(c.watch.known, id)
		case len(affiliate.get(2).bytes) > 0:
			c.watch.known[id] = true
		}
	}
	c.state.Known = len(c.watch.known)
	c.Changed(c.state)
}
