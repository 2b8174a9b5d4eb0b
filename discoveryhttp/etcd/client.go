package etcd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	"github.com/spanmesh/span/discoveryhttp/etcdpb"
	"github.com/spanmesh/span/discoveryhttp/etcdpb/etcdpbconnect"
)

const (
	dialTimeout = 3 * time.Second
	// pingAfter and pingTimeout find a member that is gone in silence. etcd hangs up
	// on who pings more often than every 5 seconds (--grpc-keepalive-min-time).
	pingAfter   = 10 * time.Second
	pingTimeout = 2 * time.Second
	// maxMessage bounds an answer, in bytes: a cluster with as many affiliates as the
	// server lets in stays below.
	maxMessage = 256 << 20
)

// Client is safe for concurrent use.
type Client struct {
	transport *http.Transport
	members   []member
	// good is the index of the member that answered last.
	good atomic.Int64
}

// member is one of etcd's.
type member struct {
	kv    etcdpbconnect.KVClient
	watch etcdpbconnect.WatchClient
	lease etcdpbconnect.LeaseClient
}

// New makes a client of the members at URLs, one at least. TLS is nil for those with
// http. It connects with the first call.
func New(endpoints []string, config *tls.Config) *Client {
	protocols := new(http.Protocols)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	c := &Client{transport: &http.Transport{
		DialContext:         (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSClientConfig:     config,
		TLSHandshakeTimeout: dialTimeout,
		Protocols:           protocols,
		HTTP2:               &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
	}}
	client := &http.Client{Transport: c.transport}
	options := []connect.ClientOption{connect.WithGRPC(), connect.WithReadMaxBytes(maxMessage)}
	for _, endpoint := range endpoints {
		c.members = append(c.members, member{
			kv:    etcdpbconnect.NewKVClient(client, endpoint, options...),
			watch: etcdpbconnect.NewWatchClient(client, endpoint, options...),
			lease: etcdpbconnect.NewLeaseClient(client, endpoint, options...),
		})
	}
	return c
}

// Close ends what is not in use.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// Range reads the keys of a range.
func (c *Client) Range(ctx context.Context, r *etcdpb.RangeRequest) (*etcdpb.RangeResponse, error) {
	return ask(ctx, c, r, func(m member) call[etcdpb.RangeRequest, etcdpb.RangeResponse] { return m.kv.Range })
}

// Txn does all of one list of operations or all of another.
func (c *Client) Txn(ctx context.Context, r *etcdpb.TxnRequest) (*etcdpb.TxnResponse, error) {
	return ask(ctx, c, r, func(m member) call[etcdpb.TxnRequest, etcdpb.TxnResponse] { return m.kv.Txn })
}

// Grant makes a lease with an ID and a life in seconds. It is no error that there is
// one with that ID.
func (c *Client) Grant(ctx context.Context, id, ttl int64) error {
	_, err := ask(ctx, c, &etcdpb.LeaseGrantRequest{ID: id, TTL: ttl},
		func(m member) call[etcdpb.LeaseGrantRequest, etcdpb.LeaseGrantResponse] { return m.lease.LeaseGrant })
	if says(err, "etcdserver: lease already exists") {
		return nil
	}
	return err
}

// IsLeaseNotFound tells the error of a write with a lease that is not there.
func IsLeaseNotFound(err error) bool { return says(err, "etcdserver: requested lease not found") }

// says tells an error of etcd by its text, which is how etcd's own client does, too:
// their codes are shared by many.
func says(err error, text string) bool {
	var e *connect.Error
	return errors.As(err, &e) && connect.IsWireError(e) && e.Message() == text
}

// call is a method of a member.
type call[Request, Response any] func(context.Context, *connect.Request[Request]) (*connect.Response[Response], error)

// ask makes a call, of the member that answered last, then of the others, and of the
// first once more: its connection may have been the one thing that was broken. Who
// keeps silent has half of the time that is left.
func ask[Request, Response any](ctx context.Context, c *Client, r *Request, method func(member) call[Request, Response]) (*Response, error) {
	var failed error
	first := int(c.good.Load())
	for i := range len(c.members) + 1 {
		at := (first + i) % len(c.members)
		response, err := try(ctx, i < len(c.members), method(c.members[at]), r)
		if err == nil {
			c.good.Store(int64(at))
			return response.Msg, nil
		}
		failed = err
		if ctx.Err() != nil || connect.IsWireError(err) && connect.CodeOf(err) != connect.CodeUnavailable {
			break
		}
	}
	return nil, failed
}

// try makes a call, in half of the time that is left if others may be asked then.
func try[Request, Response any](ctx context.Context, others bool, method call[Request, Response], r *Request) (*connect.Response[Response], error) {
	if deadline, limited := ctx.Deadline(); limited && others {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(deadline)/2)
		defer cancel()
	}
	return method(ctx, connect.NewRequest(r))
}

// Watch calls take with the events of a range from a revision on, in their order, and
// returns why that ended. What one revision did comes in one piece.
func (c *Client) Watch(ctx context.Context, r *etcdpb.WatchCreateRequest, take func([]*etcdpb.Event)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream := c.members[c.good.Load()].watch.Watch(ctx)
	// While more of the request may come, net/http does not look at its context.
	context.AfterFunc(ctx, func() { _ = stream.CloseRequest() })
	defer func() {
		cancel()
		_ = stream.CloseResponse()
	}()
	// Without a leader, a member would keep still rather than tell that it is cut off.
	stream.RequestHeader().Set("hasleader", "true")
	create := &etcdpb.WatchRequest{RequestUnion: &etcdpb.WatchRequest_CreateRequest{CreateRequest: r}}
	if err := stream.Send(create); err != nil {
		// Receive has the reason.
		_, why := stream.Receive()
		return errors.Join(why, err)
	}
	for {
		response, err := stream.Receive()
		switch {
		case err != nil:
			return err
		case response.GetCompactRevision() != 0:
			return fmt.Errorf("etcd has forgotten the revisions before %d", response.GetCompactRevision())
		case response.GetCanceled():
			return fmt.Errorf("etcd ended the watch: %s", response.GetCancelReason())
		}
		take(response.GetEvents())
	}
}

// PrefixEnd is the first key after all that begin with prefix, which is not empty and
// does not end with the last of all bytes.
func PrefixEnd(prefix string) []byte {
	end := []byte(prefix)
	end[len(end)-1]++
	return end
}
