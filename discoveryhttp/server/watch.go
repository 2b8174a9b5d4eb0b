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

// watch sends all affiliates of a cluster in the first message, even if there are none, and
// all later changes in further ones. The encoded messages are shared: send does not change
// them. A watch that has lost events ends with CodeAborted; the client starts a new one.
func (s *Server) watch(ctx context.Context, c call, m *serverpb.WatchRequest, send func(wire []byte) error) error {
	token, err := s.admit(ctx, c, m.GetClusterId())
	if err != nil {
		return err
	}
	if err := s.admission.openWatch(c.caller); err != nil {
		return err
	}
	defer s.admission.closeWatch(c.caller)
	snapshot, watcher, err := s.store.Watch(ctx, m.GetClusterId(), token)
	if err != nil {
		return s.storeError(ctx, err)
	}
	defer watcher.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.closing, cancel)()
	if err := send(snapshot.Wire()); err != nil {
		return err
	}
	for {
		events, err := watcher.Next(ctx)
		switch {
		case errors.Is(err, store.ErrResync):
			return connect.NewError(connect.CodeAborted, err)
		case errors.Is(err, store.ErrOtherToken):
			return s.storeError(ctx, err)
		case err != nil && s.closing.Err() != nil:
			return connect.NewError(connect.CodeUnavailable, errors.New("the server is shutting down"))
		case err != nil:
			return err
		}
		for len(events) > 0 {
			n := batch(events)
			if err := send(store.EncodeEvents(events[:n])); err != nil {
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
