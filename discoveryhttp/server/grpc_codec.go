package server

import (
	"fmt"

	"google.golang.org/grpc/mem"
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
	m, ok := v.(proto.Message)
	if !ok {
		return fmt.Errorf("a request of type %T has no encoding", v)
	}
	if len(data) == 1 {
		return proto.Unmarshal(data[0].ReadOnlyData(), m)
	}
	return proto.Unmarshal(data.Materialize(), m)
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
