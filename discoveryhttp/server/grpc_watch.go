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

func (o grpcOutlet) deliver(d *delivery) error { return o.stream.SendMsg(d.buffers()) }

func (grpcOutlet) pending() <-chan struct{} { return nil }

func (grpcOutlet) write() error { return nil }

func (o grpcOutlet) close() *grpcConn {
	if p, ok := peer.FromContext(o.stream.Context()); ok {
		if a, ok := p.Addr.(connAddr); ok {
			return a.conn
		}
	}
	return nil
}

// abandon makes a connection drop what a reader has not taken. gRPC has no way to drop what
// it has queued for one stream: the connection is closed, or that of a proxy when there is
// much of it.
func (o grpcOutlet) abandon(r *reader) {
	if c := o.close(); c != nil && (!c.proxy || c.stuck.Add(r.untaken.Load()) > maxStuck) {
		_ = c.Close()
	}
}

// grpcList serves List. It ends when the reader has taken the list, so that none is left
// untaken. Until then it counts as a watch.
func (s *Server) grpcList(stream grpc.ServerStream, c call, m *serverpb.ListRequest) error {
	if _, err := s.admit(stream.Context(), c, m.GetClusterId()); err != nil {
		return err
	}
	if err := s.admission.openWatch(c.caller); err != nil {
		return err
	}
	defer s.admission.closeWatch(c.caller)
	cluster, leave := s.clusters.join(m.GetClusterId())
	defer leave()
	list, err := s.list(stream.Context(), cluster, c, m, maxList)
	if err != nil {
		return err
	}
	return s.serve(stream.Context(), newReader(grpcOutlet{stream}, rateKey(c.caller), cluster, list, nil))
}

func listTooLarge(size, limit int) error {
	return connect.NewError(connect.CodeResourceExhausted,
		fmt.Errorf("the list has %d bytes, and at most %d are sent: use Watch, whose first messages are the list in parts", size, limit))
}

// grpcWatch serves Watch.
func (s *Server) grpcWatch(stream grpc.ServerStream, c call, m *serverpb.WatchRequest) error {
	return s.watch(stream.Context(), c, m, grpcOutlet{stream}, snapshotPart)
}
