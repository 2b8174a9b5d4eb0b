package server

import (
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// codec decodes requests, and passes encoded responses through without copying them.
type codec struct{}

// Marshal implements encoding.CodecV2.
func (codec) Marshal(v any) (mem.BufferSlice, error) {
	if encoded, ok := v.(mem.BufferSlice); ok {
		return encoded, nil
	}
	return nil, fmt.Errorf("a response of type %T has no encoding", v)
}

// Unmarshal implements encoding.CodecV2.
func (codec) Unmarshal(data mem.BufferSlice, v any) error {
	r, ok := v.(*received)
	if !ok {
		return fmt.Errorf("a request of type %T has no encoding", v)
	}
	if len(data) == 1 {
		r.err = proto.Unmarshal(data[0].ReadOnlyData(), r.message)
	} else {
		r.err = proto.Unmarshal(data.Materialize(), r.message)
	}
	return nil
}

// received is a request. gRPC itself calls one that cannot be decoded an internal error; it is the
// caller's fault.
type received struct {
	message proto.Message
	err     error
}

// receive receives the request of a call.
func receive(stream grpc.ServerStream, m proto.Message) error {
	r := received{message: m}
	if err := stream.RecvMsg(&r); err != nil {
		return err
	}
	if r.err != nil {
		return status.Error(codes.InvalidArgument, "the request cannot be decoded")
	}
	return nil
}

// noBuffers is the half of a mem.BufferPool that gRPC does not use: a pool that embeds it only
// hears of the buffers that gRPC is done with.
type noBuffers struct{}

// Get implements mem.BufferPool.
func (noBuffers) Get(size int) *[]byte {
	b := make([]byte, size)
	return &b
}

// Name implements encoding.CodecV2.
func (codec) Name() string { return "proto" }
