package server

import (
	"fmt"

	"connectrpc.com/connect"
	"google.golang.org/grpc"
	"google.golang.org/grpc/peer"

	"github.com/spanmesh/span/discoveryhttp/serverpb"
)

const (
	// maxList is the size of the largest message that gRPC clients take by default, in bytes.
	maxList = 4 << 20
	// maxStuck bounds what ended calls may leave untaken in one connection, in bytes, before
	// the connection of a proxy is closed. Other connections are closed at once.
	maxStuck = 8 << 20
)

// grpcOutlet sends the messages of a stream by gRPC. SendMsg does not wait, because no more
// than sendWindow is untaken before. gRPC keeps what the reader does not take.
type grpcOutlet struct{ stream grpc.ServerStream }

func (o grpcOutlet) deliver(r *reader, m *message) error {
	return o.stream.SendMsg(m.buffers(returned{r: r}))
}

func (grpcOutlet) pending() <-chan struct{} { return nil }

func (grpcOutlet) write(*reader) error { return nil }

// returned is a mem.BufferPool that reports buffers to their reader when gRPC is done with them.
type returned struct {
	noBuffers

	r *reader
}

// Put implements mem.BufferPool.
func (p returned) Put(b *[]byte) { p.r.released(len(*b)) }

// abandon makes a connection drop what a reader has not taken. gRPC has no way to drop what
// it has queued for one stream: the connection is closed, or that of a proxy when there is
// much of it.
func (o grpcOutlet) abandon(r *reader) {
	p, ok := peer.FromContext(o.stream.Context())
	if !ok {
		return
	}
	if a, ok := p.Addr.(connAddr); ok && (!a.conn.proxy || a.conn.stuck.Add(r.untaken.Load()) > maxStuck) {
		_ = a.conn.Close()
	}
}

// grpcList serves List. It ends when the reader has taken a large list, so that none is left
// untaken.
func (s *Server) grpcList(stream grpc.ServerStream, c call, m *serverpb.ListRequest) error {
	ctx := stream.Context()
	affiliates, err := s.list(ctx, c, m)
	if err != nil {
		return err
	}
	switch size := affiliates.Size(); {
	case size > maxList:
		return listTooLarge(size, maxList)
	case size <= smallSnapshot:
		return stream.SendMsg(countedAnswer(ctx, affiliates.Wire()))
	}
	r := newReader(grpcOutlet{stream}, []*part{{m: newMessage(affiliates.Wire())}})
	if err := s.readings.beginList(affiliates, r); err != nil {
		return err
	}
	r.flush()
	return s.serve(ctx, r)
}

func listTooLarge(size, limit int) error {
	return connect.NewError(connect.CodeResourceExhausted,
		fmt.Errorf("the list has %d bytes, and at most %d are sent: use Watch, whose first messages are the list in parts", size, limit))
}

// grpcWatch serves Watch.
func (s *Server) grpcWatch(stream grpc.ServerStream, c call, m *serverpb.WatchRequest) error {
	return s.watch(stream.Context(), c, m, grpcOutlet{stream}, snapshotPart)
}
