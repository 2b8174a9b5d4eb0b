package server

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"connectrpc.com/connect"

	"github.com/spanmesh/span/discoveryhttp/serverpb"
	"github.com/spanmesh/span/discoveryhttp/serverpb/serverpbconnect"
	"github.com/spanmesh/span/discoveryhttp/store"
)

// Store keeps affiliates. What Update and Delete acknowledge survives as the
// store promises, and reaches every watcher.
type Store interface {
	Update(ctx context.Context, clusterID string, u store.Update) error
	Delete(ctx context.Context, clusterID, id string) error
	List(ctx context.Context, clusterID string) ([]*store.Affiliate, error)
	// Watch returns what there is, and a watcher of all that comes after.
	Watch(ctx context.Context, clusterID string) ([]*store.Affiliate, *store.Watcher, error)
	// Expire removes what nobody refreshed in time.
	Expire(ctx context.Context, now time.Time) error
	Close() error
}

// Server answers the discovery protocol.
type Server struct {
	store   Store
	log     *slog.Logger
	closing context.Context
}

var _ serverpbconnect.ClusterHandler = (*Server)(nil)

// New makes a server. When closing ends, so do its streams, for their clients
// to move on.
func New(closing context.Context, s Store, log *slog.Logger) *Server {
	return &Server{store: s, log: log, closing: closing}
}

// Handler serves the protocol.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle(serverpbconnect.NewClusterHandler(s, connect.WithReadMaxBytes(maxRequest)))
	return mux
}

// Hello implements the protocol.
func (s *Server) Hello(_ context.Context, req *connect.Request[serverpb.HelloRequest]) (*connect.Response[serverpb.HelloResponse], error) {
	if err := checkID("cluster_id", req.Msg.GetClusterId()); err != nil {
		return nil, err
	}
	response := &serverpb.HelloResponse{}
	if peer, err := netip.ParseAddrPort(req.Peer().Addr); err == nil {
		response.ClientIp = peer.Addr().Unmap().WithZone("").AsSlice()
	}
	return connect.NewResponse(response), nil
}

// AffiliateUpdate implements the protocol.
func (s *Server) AffiliateUpdate(ctx context.Context, req *connect.Request[serverpb.AffiliateUpdateRequest]) (*connect.Response[serverpb.AffiliateUpdateResponse], error) {
	m := req.Msg
	if err := checkUpdate(m); err != nil {
		return nil, err
	}
	ttl := min(m.GetTtl().AsDuration(), MaxTTL)
	err := s.store.Update(ctx, m.GetClusterId(), store.Update{
		ID:        m.GetAffiliateId(),
		Data:      m.AffiliateData,
		Endpoints: m.GetAffiliateEndpoints(),
		Expires:   time.Now().Add(ttl),
	})
	if err != nil {
		return nil, s.failed(err)
	}
	return connect.NewResponse(&serverpb.AffiliateUpdateResponse{}), nil
}

// AffiliateDelete implements the protocol.
func (s *Server) AffiliateDelete(ctx context.Context, req *connect.Request[serverpb.AffiliateDeleteRequest]) (*connect.Response[serverpb.AffiliateDeleteResponse], error) {
	if err := checkID("cluster_id", req.Msg.GetClusterId()); err != nil {
		return nil, err
	}
	if err := checkID("affiliate_id", req.Msg.GetAffiliateId()); err != nil {
		return nil, err
	}
	if err := s.store.Delete(ctx, req.Msg.GetClusterId(), req.Msg.GetAffiliateId()); err != nil {
		return nil, s.failed(err)
	}
	return connect.NewResponse(&serverpb.AffiliateDeleteResponse{}), nil
}

// List implements the protocol.
func (s *Server) List(ctx context.Context, req *connect.Request[serverpb.ListRequest]) (*connect.Response[serverpb.ListResponse], error) {
	if err := checkID("cluster_id", req.Msg.GetClusterId()); err != nil {
		return nil, err
	}
	affiliates, err := s.store.List(ctx, req.Msg.GetClusterId())
	if err != nil {
		return nil, s.failed(err)
	}
	return connect.NewResponse(&serverpb.ListResponse{Affiliates: encode(affiliates)}), nil
}

// Watch implements the protocol. The first message has all affiliates, even if
// there are none.
func (s *Server) Watch(ctx context.Context, req *connect.Request[serverpb.WatchRequest], stream *connect.ServerStream[serverpb.WatchResponse]) error {
	if err := checkID("cluster_id", req.Msg.GetClusterId()); err != nil {
		return err
	}
	snapshot, watcher, err := s.store.Watch(ctx, req.Msg.GetClusterId())
	if err != nil {
		return s.failed(err)
	}
	defer watcher.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.closing, cancel)()
	if err := stream.Send(&serverpb.WatchResponse{Affiliates: encode(snapshot)}); err != nil {
		return err
	}
	for {
		changes, err := watcher.Next(ctx)
		if err != nil {
			if s.closing.Err() != nil {
				return connect.NewError(connect.CodeUnavailable, errors.New("the server is shutting down"))
			}
			return err
		}
		for _, message := range messages(changes) {
			if err := stream.Send(message); err != nil {
				return err
			}
		}
	}
}

// messages groups neighbouring changes of a kind.
func messages(changes []store.Change) []*serverpb.WatchResponse {
	var out []*serverpb.WatchResponse
	for _, c := range changes {
		if len(out) == 0 || out[len(out)-1].GetDeleted() != c.Deleted {
			out = append(out, &serverpb.WatchResponse{Deleted: c.Deleted})
		}
		last := out[len(out)-1]
		last.Affiliates = append(last.Affiliates, encodeOne(c.Affiliate))
	}
	return out
}

func encode(affiliates []*store.Affiliate) []*serverpb.Affiliate {
	out := make([]*serverpb.Affiliate, len(affiliates))
	for i, a := range affiliates {
		out[i] = encodeOne(a)
	}
	return out
}

func encodeOne(a *store.Affiliate) *serverpb.Affiliate {
	return &serverpb.Affiliate{Id: a.ID, Data: a.Data, Endpoints: a.Endpoints}
}

// failed turns an error of the store into one for the caller; what only the
// operator should know stays in the log.
func (s *Server) failed(err error) error {
	if errors.Is(err, store.ErrTooManyAffiliates) || errors.Is(err, store.ErrTooManyEndpoints) {
		return connect.NewError(connect.CodeResourceExhausted, err)
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	s.log.Error("the store failed", "error", err)
	return connect.NewError(connect.CodeInternal, errors.New("the store failed"))
}
