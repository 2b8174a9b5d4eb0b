package server

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/time/rate"

	"github.com/spanmesh/span/discoveryhttp/reflectpb/reflectpbconnect"
	"github.com/spanmesh/span/discoveryhttp/relaypb/relaypbconnect"
	"github.com/spanmesh/span/discoveryhttp/server/door"
	"github.com/spanmesh/span/discoveryhttp/server/page"
	"github.com/spanmesh/span/discoveryhttp/serverpb"
	"github.com/spanmesh/span/discoveryhttp/serverpb/serverpbconnect"
	"github.com/spanmesh/span/discoveryhttp/store"
	"github.com/spanmesh/span/discoveryhttp/stun"
)

// Store keeps the affiliates of clusters. It is safe for concurrent use. Package
// store has implementations and the types for further ones.
type Store interface {
	// Update creates or refreshes an affiliate. Once it has returned nil, the change
	// is as durable as the store's documentation says, and reaches every watcher.
	Update(ctx context.Context, clusterID string, u store.Update) error
	// Delete removes an affiliate. That of an unknown affiliate succeeds.
	Delete(ctx context.Context, clusterID, id string) error
	// List returns the affiliates of a cluster; none for an unknown cluster.
	List(ctx context.Context, clusterID string) (*store.Snapshot, error)
	// Watch returns the affiliates of a cluster, and a watcher of all later changes.
	// Whoever calls Watch closes the watcher.
	// caller and token are those of store.Update: caller is charged for a cluster that the
	// watch makes, until somebody publishes in it. The watcher ends with store.ErrOtherToken if
	// another token is pinned later.
	Watch(ctx context.Context, clusterID string, caller netip.Addr, token []byte) (*store.Snapshot, *store.Watcher, error)
	// Admit reports whether the cluster has no pin, or token as its pin. It never
	// creates a pin: an Update does.
	Admit(ctx context.Context, clusterID string, token []byte, now time.Time) (bool, error)
	Invitations
	// Expire removes the affiliates, endpoints and invitations that have expired, and pins that
	// were not used for as long as store.PinLife says. The server calls it every few
	// seconds.
	Expire(now time.Time) error
	// Stats returns what the store keeps.
	Stats() store.Stats
	// Ready returns an error if the store cannot be used.
	Ready(ctx context.Context) error
}

// Invitations keeps invitations for machines that are to join a cluster.
type Invitations interface {
	// CreateInvitation keeps an invitation until a day after it expires. What it seals goes with
	// the first Expire after that.
	CreateInvitation(ctx context.Context, i *store.Invitation) error
	// TakeInvitation counts a request once, on however many servers, and returns the invitation with
	// what it seals.
	TakeInvitation(ctx context.Context, name store.InvitationName, request store.RequestID, now time.Time) (*store.Invitation, error)
	// ListInvitations returns those of an owner, the first to expire first. It may leave out what they
	// seal.
	ListInvitations(ctx context.Context, owner store.OwnerHash) ([]*store.Invitation, error)
	// RevokeInvitation removes an invitation of an owner.
	RevokeInvitation(ctx context.Context, owner store.OwnerHash, name store.InvitationName) error
}

// Options configure a Server.
type Options struct {
	Store  Store
	Limits Limits
	// Auth is the policy on who may use a cluster.
	Auth Auth
	// TrustedProxies are the networks of proxies whose X-Real-IP and X-Forwarded-For are
	// trusted.
	TrustedProxies []netip.Prefix
	// HideClientAddress makes Hello answer without the address of the caller.
	HideClientAddress bool
	// Reflect lets a caller have datagrams sent to its own address.
	Reflect bool
	// Outside tells machines their outside addresses, on STUN, which are sockets of stun.Listen. Run
	// closes them. Outside is nil for none.
	Outside *stun.Server
	STUN    []*net.UDPConn
	// Invite keeps invitations for machines that are to join a cluster.
	Invite bool
	// Relay forwards packets of machines; nil for none. Run runs it. RelayAddress is host:port of its
	// UDP socket; an empty host is that at which a machine calls the server.
	Relay        Relay
	RelayAddress string
	// Redirect is host:port of another service. If it is not empty, Hello sends all
	// clients there.
	Redirect string
	// Version is shown on the page.
	Version string
	// Page is who may see the numbers on the page, and Metrics who may read the metrics. The
	// page's is Private and that of the metrics Public if it is empty.
	Page, Metrics Access
	Log           *slog.Logger
}

// Server implements the discovery protocol.
type Server struct {
	options   Options
	store     Store
	log       *slog.Logger
	callers   callers
	admission *admission
	metrics   *metrics
	closing   context.Context
	clusters  clusters
	account   *account
	copies    *copies
	// calls bounds the open calls.
	calls *quota[netip.Addr]
	// requestTimeout bounds how long the request of a gRPC call may take to arrive.
	requestTimeout time.Duration
	// board has what the page shows.
	board *page.Board
	// visits and probes bound the open requests for pages and of probes, and visitRates how often
	// an address asks for pages.
	visits, probes *quota[netip.Addr]
	visitRates     *limiter[netip.Addr]
	// connections returns the numbers of connections; nil if the server does not accept them.
	connections func() door.Stats
	// storeFailed limits how often failures of the store are logged.
	storeFailed rate.Sometimes
}

// New returns a server. When closing ends, its streams end, so that clients move to
// another server.
func New(closing context.Context, o Options) *Server {
	s := &Server{
		options:   o,
		log:       o.Log,
		callers:   callers{o.TrustedProxies},
		admission: newAdmission(closing, o.Limits),
		closing:   closing,
		clusters:  clusters{byID: map[string]*cluster{}},
		copies:    newCopies(o.Limits.Copies, o.Limits.CopiesPerAddress),
		calls:     newQuota[netip.Addr](o.Limits.CallsPerAddress, o.Limits.Calls),

		requestTimeout: requestTimeout,
		board:          page.NewBoard(page.About{Version: o.Version, Memory: o.Limits.most()}),
		visits:         newQuota[netip.Addr](visitsPerAddress, allVisits),
		probes:         newQuota[netip.Addr](probesPerAddress, allProbes),
		visitRates:     newLimiter[netip.Addr](visitRate),
		storeFailed:    rate.Sometimes{First: 1, Interval: 30 * time.Second},
	}
	s.account = newAccount(o.Limits.Sent, s.clusters.dropCaches)
	s.clusters.account = s.account
	s.metrics = newMetrics(o.Store)
	s.metrics.registry.MustRegister(s.admission.collectors()...)
	s.metrics.registry.MustRegister(s.account.collectors()...)
	if o.Relay != nil {
		s.metrics.registry.MustRegister(o.Relay)
	}
	s.store = s.metrics.measure(o.Store)
	return s
}

// Handler returns the handler of the protocol, metrics, probes and the page.
func (s *Server) Handler() http.Handler {
	path, protocol := serverpbconnect.NewClusterHandler(connectHandler{s},
		connect.WithReadMaxBytes(s.options.Limits.request()),
		connect.WithCompression("gzip", nil, nil),
		connect.WithInterceptors(s.metrics),
	)
	services := map[string]http.Handler{path: protocol}
	if s.options.Reflect {
		path, service := reflectpbconnect.NewReflectServiceHandler(newReflector(s), connect.WithReadMaxBytes(maxReflect),
			connect.WithCompression("gzip", nil, nil), connect.WithInterceptors(s.metrics))
		services[path] = service
	}
	if s.options.Invite {
		path, service := newInviter(s).handler()
		services[path] = service
	}
	if s.options.Relay != nil {
		path, service := relaypbconnect.NewRelayServiceHandler(&relayService{s, s.options.Relay, s.options.RelayAddress}, connect.WithReadMaxBytes(maxJoin),
			connect.WithCompression("gzip", nil, nil), connect.WithInterceptors(s.metrics))
		services[path] = service
	}
	for path, service := range services {
		services[path] = s.withCalls(withoutCompression(withController(service)))
	}
	others := withPageHeaders(s.withVisits(s.pages()))
	return withDeadlines(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.options.Relay != nil && r.URL.Path == RelayPath && r.ProtoMajor == 1 {
			s.relayStream(w, r)
			return
		}
		for path, service := range services {
			if strings.HasPrefix(r.URL.Path, path) {
				service.ServeHTTP(w, r)
				return
			}
		}
		others.ServeHTTP(w, r)
	}), s.options.Limits.Send)
}

// labelOf returns a name of a cluster for logs. It is made from a hash, because the ID
// is a password where no token is needed.
func labelOf(clusterID string) string {
	sum := sha256.Sum256([]byte(clusterID))
	return hex.EncodeToString(sum[:4])
}

// hello answers with the caller's address. It needs no token.
func (s *Server) hello(ctx context.Context, c call, m *serverpb.HelloRequest) (*serverpb.HelloResponse, error) {
	turn, err := s.admission.reserve(ctx, c.caller, time.Now())
	if err != nil {
		return nil, err
	}
	if err := s.options.Limits.checkID("cluster_id", m.GetClusterId()); err != nil {
		return nil, err
	}
	if err := s.admission.await(ctx, turn); err != nil {
		return nil, err
	}
	response := &serverpb.HelloResponse{}
	if !s.options.HideClientAddress {
		response.ClientIp = c.caller.AsSlice()
	}
	if s.options.Redirect != "" {
		response.Redirect = &serverpb.RedirectMessage{Endpoint: s.options.Redirect}
	}
	return response, nil
}

// update creates or refreshes an affiliate.
func (s *Server) update(ctx context.Context, c call, m *serverpb.AffiliateUpdateRequest) error {
	clusterID := m.GetClusterId()
	u, invalid := s.options.Limits.updateOf(m)
	// While the call waits for its turn, it holds no more than what may be stored.
	m.Reset()
	token, err := s.admit(ctx, c, clusterID)
	if err != nil {
		return err
	}
	if invalid != nil {
		return invalid
	}
	u.Now, u.Caller, u.Token = time.Now(), rateKey(c.caller), token
	return s.storeError(ctx, s.store.Update(ctx, clusterID, u))
}

// remove removes an affiliate.
func (s *Server) remove(ctx context.Context, c call, m *serverpb.AffiliateDeleteRequest) error {
	if _, err := s.admit(ctx, c, m.GetClusterId()); err != nil {
		return err
	}
	if err := s.options.Limits.checkID("affiliate_id", m.GetAffiliateId()); err != nil {
		return err
	}
	return s.storeError(ctx, s.store.Delete(ctx, m.GetClusterId(), m.GetAffiliateId()))
}

// list returns the affiliates of a cluster to a call that was admitted, in one message, which the caller of list holds, or an
// error if it would have more than some bytes.
func (s *Server) list(ctx context.Context, of *cluster, c call, m *serverpb.ListRequest, most int) ([]*message, error) {
	var list []*message
	err := s.account.retry(ctx, func() (err error) {
		list, err = s.beginList(ctx, of, c, m, most)
		return err
	})
	return list, err
}

// beginList is list that does not wait for room: its error may be errNoRoom.
func (s *Server) beginList(ctx context.Context, of *cluster, c call, m *serverpb.ListRequest, most int) ([]*message, error) {
	end, err := of.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	affiliates, err := s.store.List(ctx, m.GetClusterId())
	if err != nil {
		return nil, s.storeError(ctx, err)
	}
	// Another token may have been pinned meanwhile, with what was listed.
	if _, err := s.authorize(ctx, m.GetClusterId(), c.authorization, time.Now()); err != nil {
		return nil, err
	}
	if size := affiliates.Size(); size > most {
		return nil, listTooLarge(size, most)
	}
	return of.encode(affiliates, maxConnectList, rateKey(c.caller))
}

// storeError returns the error of a call for an error of the store. Details are logged
// and not sent to the caller.
func (s *Server) storeError(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	for _, full := range []error{store.ErrTooManyClusters, store.ErrTooManyAffiliates, store.ErrTooManyEndpoints, store.ErrTooManyWatchers,
		store.ErrFull, store.ErrCallerFull, store.ErrTooManyInvitations} {
		if errors.Is(err, full) {
			return connect.NewError(connect.CodeResourceExhausted, err)
		}
	}
	if errors.Is(err, store.ErrOtherToken) {
		return connect.NewError(connect.CodePermissionDenied, err)
	}
	if ctx.Err() != nil {
		// The caller has given up.
		return ctx.Err()
	}
	// A full disk fails every call.
	s.storeFailed.Do(func() { s.log.Error("store failed", "error", err) })
	return connect.NewError(connect.CodeUnavailable, errors.New("store failed"))
}
