package server

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/spanmesh/span/discoveryhttp/serverpb"
	"github.com/spanmesh/span/discoveryhttp/serverpb/serverpbconnect"
	"github.com/spanmesh/span/discoveryhttp/store"
)

// Store keeps affiliates. What Update and Delete acknowledge survives as the
// store promises, and reaches every watcher.
type Store interface {
	Update(ctx context.Context, clusterID string, u store.Update) error
	Delete(ctx context.Context, clusterID, id string) error
	// List returns the affiliates in the order of their IDs.
	List(ctx context.Context, clusterID string) (*store.Snapshot, error)
	// Watch returns what there is, and a watcher of all that comes after.
	Watch(ctx context.Context, clusterID string) (*store.Snapshot, *store.Watcher, error)
	// Pin makes hash the cluster's if it has none, and tells whether it is.
	Pin(ctx context.Context, clusterID string, hash []byte, now time.Time) (bool, error)
	// Expire removes what nobody refreshed in time.
	Expire(ctx context.Context, now time.Time) error
	Stats() store.Stats
	// Ready tells why the store cannot be used, if it cannot.
	Ready(ctx context.Context) error
	Close() error
}

// Options are what a server needs to know.
type Options struct {
	Store  Store
	Limits Limits
	Auth   Auth
	// TrustedProxies are the networks whose X-Real-IP and X-Forwarded-For count.
	TrustedProxies []netip.Prefix
	// Redirect sends everyone to another service, host:port, if it is not empty.
	Redirect string
	// Version is shown on the page.
	Version string
	Log     *slog.Logger
}

// Server answers the discovery protocol.
type Server struct {
	options    Options
	store      Store
	log        *slog.Logger
	callers    callers
	perAddress *limiter[netip.Addr]
	perCluster *limiter[string]
	metrics    *metrics
	closing    context.Context
}

var _ serverpbconnect.ClusterHandler = (*Server)(nil)

// New makes a server. When closing ends, so do its streams, for their clients
// to move on.
func New(closing context.Context, o Options) *Server {
	s := &Server{
		options:    o,
		log:        o.Log,
		callers:    callers{o.TrustedProxies},
		perAddress: newLimiter[netip.Addr](o.Limits.PerAddress),
		perCluster: newLimiter[string](o.Limits.PerCluster),
		closing:    closing,
	}
	s.metrics = newMetrics(o.Store)
	s.store = s.metrics.measure(o.Store)
	return s
}

// Handler serves the protocol, and the pages beside it.
func (s *Server) Handler() http.Handler {
	path, protocol := serverpbconnect.NewClusterHandler(s,
		connect.WithReadMaxBytes(s.options.Limits.request()),
		// What is sealed does not get smaller.
		connect.WithCompressMinBytes(math.MaxInt),
		connect.WithInterceptors(s.metrics),
	)
	mux := http.NewServeMux()
	mux.Handle(path, protocol)
	mux.Handle(serverpbconnect.ClusterWatchProcedure, withController(protocol))
	s.addPages(mux)
	return mux
}

// admit is the way in for every call but those that are refused: by rate, by the
// form of the cluster's ID, by token.
func (s *Server) admit(ctx context.Context, req connect.AnyRequest, clusterID string) error {
	now := time.Now()
	caller := s.callers.of(req.Peer().Addr, req.Header())
	if wait := s.perAddress.take(limited(caller), now); wait > 0 {
		return tooOften("this address", wait)
	}
	if err := s.options.Limits.checkID("cluster_id", clusterID); err != nil {
		return err
	}
	if wait := s.perCluster.take(clusterID, now); wait > 0 {
		return tooOften("this cluster", wait)
	}
	s.log.Debug("call", "method", req.Spec().Procedure, "cluster", labelOf(clusterID), "caller", caller.String())
	return s.authorize(ctx, clusterID, req.Header(), now)
}

// labelOf names a cluster in the log without telling its ID, which is as good as
// a password where tokens are not wanted.
func labelOf(clusterID string) string {
	sum := sha256.Sum256([]byte(clusterID))
	return hex.EncodeToString(sum[:4])
}

// Hello implements the protocol. It is open to all.
func (s *Server) Hello(_ context.Context, req *connect.Request[serverpb.HelloRequest]) (*connect.Response[serverpb.HelloResponse], error) {
	caller := s.callers.of(req.Peer().Addr, req.Header())
	if wait := s.perAddress.take(limited(caller), time.Now()); wait > 0 {
		return nil, tooOften("this address", wait)
	}
	if err := s.options.Limits.checkID("cluster_id", req.Msg.GetClusterId()); err != nil {
		return nil, err
	}
	response := &serverpb.HelloResponse{ClientIp: caller.AsSlice()}
	if s.options.Redirect != "" {
		response.Redirect = &serverpb.RedirectMessage{Endpoint: s.options.Redirect}
	}
	return connect.NewResponse(response), nil
}

// AffiliateUpdate implements the protocol.
func (s *Server) AffiliateUpdate(ctx context.Context, req *connect.Request[serverpb.AffiliateUpdateRequest]) (*connect.Response[serverpb.AffiliateUpdateResponse], error) {
	m := req.Msg
	if err := s.admit(ctx, req, m.GetClusterId()); err != nil {
		return nil, err
	}
	if err := s.options.Limits.checkUpdate(m); err != nil {
		return nil, err
	}
	err := s.store.Update(ctx, m.GetClusterId(), store.Update{
		ID:        m.GetAffiliateId(),
		Data:      m.AffiliateData,
		Endpoints: m.GetAffiliateEndpoints(),
		Now:       time.Now(),
		TTL:       min(m.GetTtl().AsDuration(), s.options.Limits.TTL),
	})
	if err != nil {
		return nil, s.failed(err)
	}
	return connect.NewResponse(&serverpb.AffiliateUpdateResponse{}), nil
}

// AffiliateDelete implements the protocol.
func (s *Server) AffiliateDelete(ctx context.Context, req *connect.Request[serverpb.AffiliateDeleteRequest]) (*connect.Response[serverpb.AffiliateDeleteResponse], error) {
	if err := s.admit(ctx, req, req.Msg.GetClusterId()); err != nil {
		return nil, err
	}
	if err := s.options.Limits.checkID("affiliate_id", req.Msg.GetAffiliateId()); err != nil {
		return nil, err
	}
	if err := s.store.Delete(ctx, req.Msg.GetClusterId(), req.Msg.GetAffiliateId()); err != nil {
		return nil, s.failed(err)
	}
	return connect.NewResponse(&serverpb.AffiliateDeleteResponse{}), nil
}

// List implements the protocol.
func (s *Server) List(ctx context.Context, req *connect.Request[serverpb.ListRequest]) (*connect.Response[serverpb.ListResponse], error) {
	if err := s.admit(ctx, req, req.Msg.GetClusterId()); err != nil {
		return nil, err
	}
	affiliates, err := s.store.List(ctx, req.Msg.GetClusterId())
	if err != nil {
		return nil, s.failed(err)
	}
	response := &serverpb.ListResponse{}
	if err := carry(response, affiliates.Wire(), speaksJSON(req.Header())); err != nil {
		return nil, err
	}
	return connect.NewResponse(response), nil
}

// carry makes an encoding the content of an empty message. Where the caller
// speaks protobuf it is taken along as it is, among the fields that the message
// does not know, and not encoded again; JSON knows no such fields.
func carry(m proto.Message, wire []byte, json bool) error {
	if json {
		return proto.Unmarshal(wire, m)
	}
	m.ProtoReflect().SetUnknown(wire)
	return nil
}

// speaksJSON tells a caller that is answered in JSON.
func speaksJSON(header http.Header) bool {
	return strings.HasSuffix(header.Get("Content-Type"), "json")
}

// failed turns an error of the store into one for the caller; what only the
// operator should know stays in the log.
func (s *Server) failed(err error) error {
	for _, full := range []error{store.ErrTooManyClusters, store.ErrTooManyAffiliates, store.ErrTooManyEndpoints, store.ErrTooManyWatchers} {
		if errors.Is(err, full) {
			return connect.NewError(connect.CodeResourceExhausted, err)
		}
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	s.log.Error("the store failed", "error", err)
	return connect.NewError(connect.CodeUnavailable, errors.New("the store failed"))
}
