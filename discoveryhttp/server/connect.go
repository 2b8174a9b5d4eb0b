package server

import (
	"context"
	"net/http"
	"strings"

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
	affiliates, err := h.server.list(ctx, h.callOf(req), req.Msg)
	if err != nil {
		return nil, err
	}
	response := &serverpb.ListResponse{}
	if err := setEncoded(response, affiliates.Wire(), speaksJSON(req.Header())); err != nil {
		return nil, err
	}
	return connect.NewResponse(response), nil
}

// Watch implements the protocol.
func (h connectHandler) Watch(ctx context.Context, req *connect.Request[serverpb.WatchRequest], stream *connect.ServerStream[serverpb.WatchResponse]) error {
	clearReadDeadline(ctx)
	json := speaksJSON(req.Header())
	return h.server.watch(ctx, h.callOf(req), req.Msg, func(wire []byte) error {
		message := &serverpb.WatchResponse{}
		if err := setEncoded(message, wire, json); err != nil {
			return err
		}
		return stream.Send(message)
	})
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
