package server

import (
	"context"
	"errors"

	"connectrpc.com/connect"

	"github.com/spanmesh/span/discoveryhttp/serverpb"
	"github.com/spanmesh/span/discoveryhttp/store"
)

// maxBatch is the largest number of events in one message. gRPC clients accept
// messages of up to 4 MiB, and an affiliate has up to 4 KiB.
const maxBatch = 512

// Watch implements the protocol. The first message has all affiliates of the cluster,
// and is sent even if there are none. A watch that has lost events ends with
// CodeAborted; the client starts a new one.
func (s *Server) Watch(ctx context.Context, req *connect.Request[serverpb.WatchRequest], stream *connect.ServerStream[serverpb.WatchResponse]) error {
	if err := s.admit(ctx, req, req.Msg.GetClusterId()); err != nil {
		return err
	}
	clearReadDeadline(ctx)
	snapshot, watcher, err := s.store.Watch(ctx, req.Msg.GetClusterId())
	if err != nil {
		return s.storeError(ctx, err)
	}
	defer watcher.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.closing, cancel)()
	json := speaksJSON(req.Header())
	if err := send(stream, snapshot.Wire(), json); err != nil {
		return err
	}
	for {
		events, err := watcher.Next(ctx)
		switch {
		case errors.Is(err, store.ErrResync):
			return connect.NewError(connect.CodeAborted, err)
		case err != nil && s.closing.Err() != nil:
			return connect.NewError(connect.CodeUnavailable, errors.New("the server is shutting down"))
		case err != nil:
			return err
		}
		for len(events) > 0 {
			n := batch(events)
			if err := send(stream, store.EncodeEvents(events[:n]), json); err != nil {
				return err
			}
			events = events[n:]
		}
	}
}

// batch returns how many of the first events go into one message. All of them are
// deletions, or none is.
func batch(events []*store.Event) int {
	n := 1
	for n < min(len(events), maxBatch) && events[n].Deleted == events[0].Deleted {
		n++
	}
	return n
}

func send(stream *connect.ServerStream[serverpb.WatchResponse], wire []byte, json bool) error {
	message := &serverpb.WatchResponse{}
	if err := setEncoded(message, wire, json); err != nil {
		return err
	}
	return stream.Send(message)
}
