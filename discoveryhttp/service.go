package discoveryhttp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"sync"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/spanmesh/span/discoveryhttp/payload"
	"github.com/spanmesh/span/discoveryhttp/serverpb"
	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/failure"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/retry"
	"github.com/spanmesh/span/schema"
)

const (
	// callTimeout bounds each call except Watch.
	callTimeout = 10 * time.Second
	// firstPause and maxPause are the first and the longest pause between two attempts.
	firstPause = 250 * time.Millisecond
	maxPause   = 30 * time.Second
	// maxRedirects is how many redirects in a row are followed.
	maxRedirects = 5
)

// service is the connection to one discovery service, and what it knows.
type service struct {
	client *Client
	// dials is the URL of the service, and endpoint the same without its password, for people.
	dials, endpoint string
	dialer          *dialer

	// republish has an element when an update is due.
	republish chan struct{}
	// contested has the reason when this machine has to be published again because the
	// service lost it, or another program changed it.
	contested chan string
	// doubted has an element when a deletion has to be verified.
	doubted chan struct{}
	// joining has an element when the relay is to be joined or left at once.
	joining chan struct{}

	// mu guards the fields below.
	mu sync.Mutex
	// networkChanged is closed when the machine's network has changed, and replaced.
	networkChanged chan struct{}
	// connection is to the endpoint, or to the service that it redirects to.
	connection *connection
	// greeted is set once the service has answered hello on a connection.
	greeted    bool
	membership *membership
	// seen is this machine's address as the service sees it.
	seen netip.Addr
	// refused has the reasons why affiliates are not used, by node ID.
	refused map[string]refusal
	// accepted is this machine's last publication here.
	accepted accepted
	// shown is the sequence of this client's publication that the stream showed last; 0 if
	// it showed another's, or none.
	shown payload.Sequence
	// kept are the endpoints that the service has for this machine, as far as is known.
	kept [][]byte
	// listed are those of them that can be decrypted. The slice is replaced, not changed.
	listed []netip.AddrPort
	// redirectedTo is where the service redirects to; "" for nowhere.
	redirectedTo string
	// works is how well the service works, and stood what was reported of it.
	works works
	stood standing
	// relay is that of the service; nil for none that this machine has joined.
	relay *mesh.BlindRelay
	// notJoined is why it was not joined at the last attempt; zero if it was, or there is none.
	notJoined failure.Failure
	// answered is closed when the service has sent its affiliates for the first time.
	answered chan struct{}
}

func newService(c *Client, endpoint string, d *dialer, cached cacheContent) (*service, error) {
	connection, err := d.dial(endpoint)
	if err != nil {
		return nil, err
	}
	s := &service{
		client:         c,
		dials:          endpoint,
		endpoint:       schema.ServiceURL(endpoint).String(),
		dialer:         d,
		connection:     connection,
		republish:      make(chan struct{}, 1),
		contested:      make(chan string, 1),
		doubted:        make(chan struct{}, 1),
		joining:        make(chan struct{}, 1),
		networkChanged: make(chan struct{}),
		membership:     newMembership(cached.Affiliates),
		refused:        map[string]refusal{},
		answered:       make(chan struct{}),
	}
	if relay, has := cached.Relays[s.endpoint]; has {
		s.relay = &relay
	}
	return s, nil
}

func (s *service) closeIdle() { s.dialer.closeIdle() }

// snapshot returns what this service knows: the machines, and the rest.
func (s *service) snapshot() ([]published, reconciler.Snapshot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	snapshot := reconciler.Snapshot{Refused: make(map[string]string, len(s.refused)), Complete: s.hasAnswered(),
		Conditions: s.works.conditions(time.Now(), s.endpoint)}
	for id, r := range s.refused {
		snapshot.Refused[id] = r.reason
		if r.sealed {
			snapshot.Unreadable = append(snapshot.Unreadable, id)
		}
	}
	if s.relay != nil {
		snapshot.Relays = []mesh.BlindRelay{*s.relay}
	}
	if s.seen.IsValid() {
		snapshot.Seen = []netip.Addr{s.seen}
	}
	return s.membership.affiliates(), snapshot
}

// hasAnswered reports whether the service has sent its affiliates.
func (s *service) hasAnswered() bool {
	select {
	case <-s.answered:
		return true
	default:
		return false
	}
}

// cached returns the affiliates for the cache.
func (s *service) cached(now time.Time) []cachedAffiliate {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.confirm(now)
	return s.membership.cached(now)
}

// confirm notes in the ledger what the service has. s.mu is held.
func (s *service) confirm(now time.Time) {
	for id := range s.membership.entries {
		if sequence, has := s.membership.current(id); has {
			s.client.newest.confirm(now, id, sequence)
		}
	}
}

// current returns the connection for the next call.
func (s *service) current() *connection {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.connection
}

// forget removes machines that another service deleted. A service that is connected reports
// its deletions itself.
func (s *service) forget(ids []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.membership.connected {
		return
	}
	for _, id := range ids {
		s.membership.remove(id)
	}
}

// pause waits after a failure. It ends early if the network changes: the failure was on the
// old network. It reports whether ctx is still open.
func (s *service) pause(ctx context.Context, d time.Duration) bool {
	s.mu.Lock()
	networkChanged := s.networkChanged
	s.mu.Unlock()
	_ = retry.Wait(ctx, d, networkChanged) // ctx.Err has the reason
	return ctx.Err() == nil
}

// reconnect closes the connections, tries again without a pause, and publishes again.
func (s *service) reconnect() {
	s.mu.Lock()
	close(s.networkChanged)
	s.networkChanged = make(chan struct{})
	s.mu.Unlock()
	s.dialer.closeAll()
	s.publishSoon()
	s.joinSoon()
}

// outage records whether the last attempts of a loop failed.
type outage struct {
	// begun is set after a failure that may be that of one protocol alone.
	begun bool
	// ongoing is set after a failure that was logged as one.
	ongoing bool
}

// begin notes a failure that may be that of one protocol alone, as behind a proxy that passes
// only the other. It reports whether that is the first failure of the outage.
func (o *outage) begin() bool {
	first := !o.begun && !o.ongoing
	o.begun = true
	return first
}

// level returns the level to log a failure at. The first one of an outage is a warning, the
// ones after it are for debugging.
func (o *outage) level() slog.Level {
	if o.ongoing {
		return slog.LevelDebug
	}
	o.ongoing = true
	return slog.LevelWarn
}

// resolved ends the outage.
func (o *outage) resolved() { *o = outage{} }

// roundPause formats a pause for a log.
func roundPause(d time.Duration) string { return d.Round(time.Millisecond).String() }

// update publishes data and endpoints of an affiliate.
func (s *service) update(ctx context.Context, id string, data []byte, endpoints [][]byte) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	ctx, status := withStatus(ctx)
	_, err := s.current().update.CallUnary(ctx, connect.NewRequest(&serverpb.AffiliateUpdateRequest{
		ClusterId:          s.client.options.ClusterID,
		AffiliateId:        id,
		AffiliateData:      data,
		AffiliateEndpoints: endpoints,
		Ttl:                durationpb.New(TTL),
	}))
	if err == nil {
		s.noteHeard()
	}
	return callError(err, status)
}

// remove deletes an affiliate.
func (s *service) remove(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_, err := s.current().remove.CallUnary(ctx, connect.NewRequest(&serverpb.AffiliateDeleteRequest{
		ClusterId:   s.client.options.ClusterID,
		AffiliateId: id,
	}))
	return plainError(err)
}

// fetch lists the affiliates once.
func (s *service) fetch(ctx context.Context) error {
	if err := s.greet(ctx); err != nil {
		return err
	}
	s.beginSnapshot()
	if err := s.list(ctx, s.takePart); err != nil {
		return fmt.Errorf("list the affiliates of %s: %w", s.endpoint, err)
	}
	s.completeSnapshot()
	return nil
}

// greet says hello for calls outside of Run, where nothing tries again later: if the first
// protocol fails, it tries the other.
func (s *service) greet(ctx context.Context) error {
	err := s.hello(ctx)
	if err != nil && ctx.Err() == nil && s.dialer.isAuto() && mayNeedOtherProtocol(err) {
		err = s.hello(ctx)
	}
	if err != nil {
		return fmt.Errorf("say hello to %s: %w", s.endpoint, err)
	}
	return nil
}

// ensureGreeted says hello for calls outside of Run, unless a connection is in use already.
func (s *service) ensureGreeted(ctx context.Context) error {
	s.mu.Lock()
	greeted := s.greeted
	s.mu.Unlock()
	if greeted {
		return nil
	}
	return s.greet(ctx)
}

// mayNeedOtherProtocol reports whether a call may succeed with the other protocol. It may not
// if nothing listens, or if the service itself has refused it.
func mayNeedOtherProtocol(err error) bool {
	if network, ok := errors.AsType[*net.OpError](err); ok && network.Op == "dial" {
		return false
	}
	switch connect.CodeOf(err) {
	case connect.CodeInvalidArgument, connect.CodeResourceExhausted, connect.CodeUnauthenticated, connect.CodePermissionDenied:
		return false
	default:
		return true
	}
}

// hello begins a session with the service at the endpoint, or the one that it redirects to.
func (s *service) hello(ctx context.Context) error {
	endpoint := s.dials
	for range maxRedirects {
		connection, err := s.dialer.dial(endpoint)
		if err != nil {
			return err
		}
		response, err := s.sayHello(ctx, connection)
		if err != nil {
			// A proxy on the path may pass only the other protocol.
			s.dialer.alternate()
			return err
		}
		redirect := response.GetRedirect().GetEndpoint()
		if redirect == "" {
			if endpoint == s.dials {
				s.noteRedirect("")
			}
			s.startSession(connection, response.GetClientIp())
			return nil
		}
		u, err := url.Parse(endpoint)
		if err != nil {
			return err
		}
		target, err := redirectTarget(u, redirect)
		if err != nil {
			return err
		}
		if endpoint == s.dials {
			s.noteRedirect(schema.ServiceURL(target.String()).String())
		}
		endpoint = target.String()
	}
	return fmt.Errorf("%s redirects more than %d times", s.endpoint, maxRedirects)
}

// noteRedirect notes where the service redirects to, "" for nowhere. It logs a redirect unless it is
// the last one again.
func (s *service) noteRedirect(endpoint string) {
	s.mu.Lock()
	known := s.redirectedTo == endpoint
	s.redirectedTo = endpoint
	s.mu.Unlock()
	if !known && endpoint != "" {
		s.client.log.Info("discovery redirect", "from", s.endpoint, "to", endpoint)
	}
}

func (s *service) sayHello(ctx context.Context, connection *connection) (*serverpb.HelloResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	ctx, status := withStatus(ctx)
	response, err := connection.hello.CallUnary(ctx, connect.NewRequest(&serverpb.HelloRequest{
		ClusterId:     s.client.options.ClusterID,
		ClientVersion: s.client.options.UserAgent,
	}))
	if err != nil {
		return nil, callError(err, status)
	}
	s.noteHeard()
	return response.Msg, nil
}

// startSession keeps the connection of a session, and this machine's address in it.
func (s *service) startSession(connection *connection, clientIP []byte) {
	address, ok := netip.AddrFromSlice(clientIP)
	address = address.Unmap()
	s.mu.Lock()
	s.connection, s.greeted = connection, true
	changed := ok && address.IsGlobalUnicast() && address != s.seen
	if changed {
		s.seen = address
	}
	s.mu.Unlock()
	if changed {
		s.client.changed()
	}
}
