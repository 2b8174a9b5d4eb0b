package server

import (
	"fmt"

	"connectrpc.com/connect"
	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"

	"github.com/spanmesh/span/discoveryhttp/serverpb"
)

// maxList is the size of the largest message that gRPC clients take by default, in bytes.
const maxList = 4 << 20

// grpcList serves List.
func (s *Server) grpcList(out grpc.ServerStream, c call, m *serverpb.ListRequest) error {
	affiliates, err := s.list(out.Context(), c, m)
	if err != nil {
		return err
	}
	if size := affiliates.Size(); size > maxList {
		return connect.NewError(connect.CodeResourceExhausted,
			fmt.Errorf("the list has %d bytes, and gRPC clients take at most %d: use Watch, which sends it in parts, or List by the Connect protocol", size, maxList))
	}
	return out.SendMsg(mem.BufferSlice{mem.SliceBuffer(affiliates.Wire())})
}

// grpcWatch serves Watch.
func (s *Server) grpcWatch(out grpc.ServerStream, c call, m *serverpb.WatchRequest) error {
	return s.watch(out.Context(), c, m, func(wire []byte) error {
		return out.SendMsg(mem.BufferSlice{mem.SliceBuffer(wire)})
	})
}
