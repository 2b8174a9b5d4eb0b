package server

import (
	"context"
	"errors"

	"connectrpc.com/connect"

	"github.com/spanmesh/span/discoveryhttp/serverpb"
	"github.com/spanmesh/span/discoveryhttp/store"
)

// maxTogether is how many changes go into one message: clients take messages of
// 4 MiB at most, and an affiliate has 4 KiB at most.
const maxTogether = 512

// Watch implements the protocol. The first message has all affiliates, even if
// there are none. A watcher that falls behind is told to start over.
func (s *Server) Watch(ctx context.Context, req *connect.Request[serverpb.WatchRequest], stream *connect.ServerStream[serverpb.WatchResponse]) error {
	if err := s.admit(ctx, req, req.Msg.GetClusterId()); err != nil {
		return err
	}
	clearReadDeadline(ctx)
	snapshot, watcher, err := s.store.Watch(ctx, req.Msg.GetClusterId())
	if err != nil {
		return s.failed(err)
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
		case errors.Is(err, store.ErrLagging):
			return connect.NewError(connect.CodeAborted, err)
		case err != nil && s.closing.Err() != nil:
			return connect.NewError(connect.CodeUnavailable, errors.New("the server is shutting down"))
		case err != nil:
			return err
		}
		for len(events) > 0 {
			n := together(events)
			if err := send(stream, store.EncodeEvents(events[:n]), json); err != nil {
				return err
			}
			events = events[n:]
		}
	}
}

// together is how many events at the head go into one message: deletions and
// other changes travel apart.
func together(events []*store.Event) int {
	n := 1
	for n < min(len(events), maxTogether) && events[n].Deleted == events[0].Deleted {
		n++
	}
	return n
}

func send(stream *connect.ServerStream[serverpb.WatchResponse], wire []byte, json bool) error {
	message := &serverpb.WatchResponse{}
	if err := carry(message, wire, json); err != nil {
		return err
	}
	return stream.Send(message)
}
