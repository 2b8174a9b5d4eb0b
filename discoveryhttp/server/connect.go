package server

import (
	"context"
	"net/http"
	"strings"
	"sync"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/spanmesh/span/discoveryhttp/serverpb"
	"github.com/spanmesh/span/discoveryhttp/serverpb/serverpbconnect"
)

// connectHandler serves the protocol by Connect, JSON and gRPC-Web on net/http.
type connectHandler struct{ server *Server }

var _ serverpbconnect.ClusterHandler = connectHandler{}

// callOf returns what the server needs to know of a request.
func (h connectHandler) callOf(req connect.AnyRequest) call {
	return call{
		procedure:     req.Spec().Procedure,
		caller:        h.server.callers.of(req.Peer().Addr, req.Header()),
		authorization: req.Header().Get("Authorization"),
	}
}

// Hello implements the protocol.
func (h connectHandler) Hello(ctx context.Context, req *connect.Request[serverpb.HelloRequest]) (*connect.Response[serverpb.HelloResponse], error) {
	response, err := h.server.hello(ctx, h.callOf(req), req.Msg)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(response), nil
}

// AffiliateUpdate implements the protocol.
func (h connectHandler) AffiliateUpdate(ctx context.Context, req *connect.Request[serverpb.AffiliateUpdateRequest]) (*connect.Response[serverpb.AffiliateUpdateResponse], error) {
	if err := h.server.update(ctx, h.callOf(req), req.Msg); err != nil {
		return nil, err
	}
	return connect.NewResponse(&serverpb.AffiliateUpdateResponse{}), nil
}

// AffiliateDelete implements the protocol.
func (h connectHandler) AffiliateDelete(ctx context.Context, req *connect.Request[serverpb.AffiliateDeleteRequest]) (*connect.Response[serverpb.AffiliateDeleteResponse], error) {
	if err := h.server.remove(ctx, h.callOf(req), req.Msg); err != nil {
		return nil, err
	}
	return connect.NewResponse(&serverpb.AffiliateDeleteResponse{}), nil
}

// List implements the protocol.
func (h connectHandler) List(ctx context.Context, req *connect.Request[serverpb.ListRequest]) (*connect.Response[serverpb.ListResponse], error) {
	c, json := h.callOf(req), speaksJSON(req.Header())
	if _, err := h.server.admit(ctx, c, req.Msg.GetClusterId()); err != nil {
		return nil, err
	}
	cluster, leave := h.server.clusters.join(req.Msg.GetClusterId())
	defer leave()
	list, err := h.server.list(ctx, cluster, c, req.Msg, maxConnectList)
	if err != nil {
		return nil, err
	}
	onWritten(ctx, func() { releaseAll(list) })
	wire := list[0].wire
	// The copies of the response live until it is written.
	release, err := h.server.copies.acquire(ctx, rateKey(c.caller), copyOf(len(wire), json))
	if err != nil {
		return nil, err
	}
	onWritten(ctx, release)
	response := &serverpb.ListResponse{}
	if err := setEncoded(response, wire, json); err != nil {
		return nil, err
	}
	return connect.NewResponse(response), nil
}

// Watch implements the protocol.
func (h connectHandler) Watch(ctx context.Context, req *connect.Request[serverpb.WatchRequest], stream *connect.ServerStream[serverpb.WatchResponse]) error {
	clearReadDeadline(ctx)
	c, json := h.callOf(req), speaksJSON(req.Header())
	o := &connectOutlet{ready: make(chan struct{}, 1)}
	o.send = func(wire []byte) error {
		release, err := h.server.copies.acquire(ctx, rateKey(c.caller), copyOf(len(wire), json))
		if err != nil {
			return err
		}
		defer release()
		message := &serverpb.WatchResponse{}
		if err := setEncoded(message, wire, json); err != nil {
			return err
		}
		return stream.Send(message)
	}
	return h.server.watch(ctx, c, req.Msg, o, connectPart)
}

// connectOutlet writes the messages of a stream in the goroutine of the call, because writing
// waits for the reader.
type connectOutlet struct {
	send  func(wire []byte) error
	ready chan struct{}

	mu sync.Mutex
	// queue is what is to be written.
	queue []*delivery
}

func (o *connectOutlet) deliver(d *delivery) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.queue = append(o.queue, d)
	select {
	case o.ready <- struct{}{}:
	default:
	}
	return nil
}

func (o *connectOutlet) pending() <-chan struct{} { return o.ready }

func (o *connectOutlet) write() error {
	for d := o.first(); d != nil; d = o.first() {
		err := o.send(d.m.wire)
		d.finish()
		if err != nil {
			return err
		}
	}
	return nil
}

// first takes the first delivery from the queue; nil if there is none.
func (o *connectOutlet) first() *delivery {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.queue) == 0 {
		o.queue = nil
		return nil
	}
	d := o.queue[0]
	o.queue[0] = nil
	o.queue = o.queue[1:]
	return d
}

// abandon has nothing to do: what is not written is not kept.
func (*connectOutlet) abandon(*reader) {}

// close drops what is not written.
func (o *connectOutlet) close() *grpcConn {
	for d := o.first(); d != nil; d = o.first() {
		d.finish()
	}
	return nil
}

// setEncoded sets the fields of an empty message from their encoding. For a protobuf
// response the encoding becomes the message's unknown fields, which are sent as they
// are. A JSON response needs the decoded fields.
func setEncoded(m proto.Message, wire []byte, json bool) error {
	if json {
		return proto.Unmarshal(wire, m)
	}
	m.ProtoReflect().SetUnknown(wire)
	return nil
}

// speaksJSON reports whether a request is answered in JSON.
func speaksJSON(header http.Header) bool {
	return strings.HasSuffix(header.Get("Content-Type"), "json")
}
