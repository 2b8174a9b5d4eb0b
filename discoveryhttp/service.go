package discoveryhttp

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"sync"
	"time"

	"connectrpc.com/connect"
	"github.com/cenkalti/backoff/v5"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/spanmesh/span/discoveryhttp/serverpb"
	"github.com/spanmesh/span/discoveryhttp/serverpb/serverpbconnect"
	"github.com/spanmesh/span/reconciler"
)

const (
	// callTimeout bounds one call but Watch.
	callTimeout = 10 * time.Second
	// firstPause and maxPause bound the wait between tries.
	firstPause = 250 * time.Millisecond
	maxPause   = 30 * time.Second
	// maxRedirects is how many services one may be sent on from.
	maxRedirects = 5
)

// service is a seat in one discovery service.
type service struct {
	client   *Client
	endpoint string
	dialer   *dialer

	// republish asks the publisher for an update at once.
	republish chan struct{}

	mu sync.Mutex
	// stirred is closed when the machine's network has changed: waits are over.
	stirred chan struct{}
	// connection is to the endpoint, or to where it has sent us.
	connection serverpbconnect.ClusterClient
	membership *membership
	seen       netip.Addr
	refused    map[string]string
	answered   bool
}

func newService(c *Client, endpoint string, d *dialer, cached []cachedAffiliate) (*service, error) {
	connection, err := d.dial(endpoint)
	if err != nil {
		return nil, err
	}
	return &service{
		client:     c,
		endpoint:   endpoint,
		dialer:     d,
		connection: connection,
		republish:  make(chan struct{}, 1),
		stirred:    make(chan struct{}),
		membership: newMembership(cached),
		refused:    map[string]string{},
	}, nil
}

func (s *service) closeIdle() { s.dialer.closeIdle() }

// snapshot returns what this service knows.
func (s *service) snapshot() reconciler.Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	snapshot := reconciler.Snapshot{Affiliates: s.membership.affiliates(), Refused: maps.Clone(s.refused), Complete: s.answered}
	if s.seen.IsValid() {
		snapshot.Seen = []netip.Addr{s.seen}
	}
	return snapshot
}

// cached returns what the next process should start with.
func (s *service) cached(now time.Time) []cachedAffiliate {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.membership.cached(now)
}

// current is the connection to use for a call.
func (s *service) current() serverpbconnect.ClusterClient {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.connection
}

// forget drops machines, unless the service itself is heard and knows better.
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

func (s *service) publishSoon() {
	select {
	case s.republish <- struct{}{}:
	default:
	}
}

// pauses is the sequence of waits after failures.
func pauses() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval = firstPause, maxPause
	return b
}

// pause waits, unless the network changes, and tells whether ctx is still good.
func (s *service) pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	s.mu.Lock()
	stirred := s.stirred
	s.mu.Unlock()
	select {
	case <-ctx.Done():
		return false
	case <-stirred:
		// The failures that the wait was for are of another network.
		return true
	case <-timer.C:
		return true
	}
}

// reconnect makes the connection anew, and publishes again.
func (s *service) reconnect() {
	s.mu.Lock()
	close(s.stirred)
	s.stirred = make(chan struct{})
	s.mu.Unlock()
	s.dialer.hangUp()
	s.publishSoon()
}

func (s *service) publishLoop(ctx context.Context) {
	waits := pauses()
	refresh := time.NewTimer(refreshInterval)
	defer refresh.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.republish:
		case <-refresh.C:
		}
		if err := s.publish(ctx); err != nil {
			if ctx.Err() != nil {
				return
			}
			wait := waits.NextBackOff()
			s.complain("publishing failed", err, wait)
			s.publishSoon()
			if !s.pause(ctx, wait) {
				return
			}
			continue
		}
		waits.Reset()
		refresh.Reset(refreshInterval)
	}
}

func (s *service) publish(ctx context.Context) error {
	p, err := s.client.publication()
	if err != nil || p == nil {
		return err
	}
	ctx, cancel := lasting(ctx, lastWord)
	defer cancel()
	return s.push(ctx, p)
}

// lastWord is how long a call that is under way may go on when the client ends. One that
// is cut off may be carried out all the same, after the next: the machine would be
// published again by its last update when it has already left.
const lastWord = time.Second

// lasting is a context that ends some time after ctx does.
func lasting(ctx context.Context, after time.Duration) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(after, cancel) })
	return longer, func() {
		stop()
		cancel()
	}
}

// push sends a sealed publication.
func (s *service) push(ctx context.Context, p *publication) error {
	if err := s.update(ctx, p.Local.NodeID, p.sealed, p.endpoints); err != nil {
		return err
	}
	for id, endpoints := range p.Harvested {
		sealed, err := s.client.sealEndpoints(endpoints)
		if err != nil {
			return err
		}
		if err := s.update(ctx, id, nil, sealed); err != nil {
			return err
		}
	}
	return nil
}

func (s *service) update(ctx context.Context, id string, data []byte, endpoints [][]byte) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_, err := s.current().AffiliateUpdate(ctx, connect.NewRequest(&serverpb.AffiliateUpdateRequest{
		ClusterId:          s.client.options.ClusterID,
		AffiliateId:        id,
		AffiliateData:      data,
		AffiliateEndpoints: endpoints,
		Ttl:                durationpb.New(TTL),
	}))
	return err
}

func (s *service) remove(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_, err := s.current().AffiliateDelete(ctx, connect.NewRequest(&serverpb.AffiliateDeleteRequest{
		ClusterId:   s.client.options.ClusterID,
		AffiliateId: id,
	}))
	return err
}

// fetch reads once what the service knows.
func (s *service) fetch(ctx context.Context) error {
	if err := s.hello(ctx); err != nil {
		return fmt.Errorf("say hello to %s: %w", s.endpoint, err)
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	response, err := s.current().List(ctx, connect.NewRequest(&serverpb.ListRequest{ClusterId: s.client.options.ClusterID}))
	if err != nil {
		return fmt.Errorf("list what %s knows: %w", s.endpoint, err)
	}
	affiliates := s.open(response.Msg.GetAffiliates())
	s.mu.Lock()
	s.answered = true
	s.membership.snapshot(time.Now(), affiliates)
	s.mu.Unlock()
	s.client.changed()
	return nil
}

// hello begins a session at the endpoint, or where it sends us, and learns the
// address by which we are seen.
func (s *service) hello(ctx context.Context) error {
	endpoint := s.endpoint
	for range maxRedirects {
		connection, err := s.dialer.dial(endpoint)
		if err != nil {
			return err
		}
		response, err := s.greet(ctx, connection)
		if err != nil {
			// Perhaps a proxy in between takes the other protocol only.
			s.dialer.alternate()
			return err
		}
		redirect := response.GetRedirect().GetEndpoint()
		if redirect == "" {
			s.take(connection, response.GetClientIp())
			return nil
		}
		u, err := url.Parse(endpoint)
		if err != nil {
			return err
		}
		s.client.log.Info("discovery sends us on", "from", endpoint, "to", redirect)
		endpoint = (&url.URL{Scheme: u.Scheme, Host: redirect}).String()
	}
	return fmt.Errorf("%s sends us on more than %d times", s.endpoint, maxRedirects)
}

func (s *service) greet(ctx context.Context, connection serverpbconnect.ClusterClient) (*serverpb.HelloResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	response, err := connection.Hello(ctx, connect.NewRequest(&serverpb.HelloRequest{
		ClusterId:     s.client.options.ClusterID,
		ClientVersion: s.client.options.UserAgent,
	}))
	if err != nil {
		return nil, err
	}
	return response.Msg, nil
}

// take keeps the connection of a session, and the address that it told.
func (s *service) take(connection serverpbconnect.ClusterClient, clientIP []byte) {
	address, ok := netip.AddrFromSlice(clientIP)
	address = address.Unmap()
	s.mu.Lock()
	s.connection = connection
	changed := ok && address.IsGlobalUnicast() && address != s.seen
	if changed {
		s.seen = address
	}
	s.mu.Unlock()
	if changed {
		s.client.changed()
	}
}

func (s *service) watchLoop(ctx context.Context) {
	waits := pauses()
	for {
		began := time.Now()
		err := s.watch(ctx)
		s.mu.Lock()
		s.membership.disconnect(time.Now())
		s.mu.Unlock()
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > maxPause {
			waits.Reset()
		}
		wait := waits.NextBackOff()
		s.complain("discovery unreachable", err, wait)
		if !s.pause(ctx, wait) {
			return
		}
	}
}

// complain logs a failure. Discovery may be away for long, and the mesh stands
// without it, so that it is a warning at most.
func (s *service) complain(what string, err error, wait time.Duration) {
	s.client.log.Warn(what, "endpoint", s.endpoint, "error", err, "retry_in", wait.Round(time.Millisecond).String())
}

// watch follows the service until the stream ends, which is always an error.
func (s *service) watch(ctx context.Context) error {
	if err := s.hello(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := s.current().Watch(ctx, connect.NewRequest(&serverpb.WatchRequest{ClusterId: s.client.options.ClusterID}))
	if err != nil {
		return err
	}
	defer func() { _ = stream.Close() }()
	first := true
	messages := make(chan *serverpb.WatchResponse)
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error {
		for stream.Receive() {
			select {
			case messages <- stream.Msg():
			case <-groupCtx.Done():
				return groupCtx.Err()
			}
		}
		if err := stream.Err(); err != nil {
			return err
		}
		return errors.New("the service ended the stream")
	})
	sweep := time.NewTicker(returnTime / 4)
	defer sweep.Stop()
	for {
		var changed bool
		select {
		case <-groupCtx.Done():
			cancel()
			return group.Wait()
		case message := <-messages:
			changed = s.news(message, first)
			if first {
				// The service may have started anew and not know this machine.
				s.publishSoon()
				changed = true
			}
			first = false
		case now := <-sweep.C:
			s.mu.Lock()
			changed = s.membership.expire(now)
			s.mu.Unlock()
		}
		if changed {
			s.client.changed()
		}
	}
}

// news puts a message of the stream into the roster.
func (s *service) news(message *serverpb.WatchResponse, snapshot bool) (changed bool) {
	if message.GetDeleted() {
		// Other services forget these machines too.
		s.gone(message.GetAffiliates())
		return true
	}
	affiliates := s.open(message.GetAffiliates())
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if snapshot {
		s.answered = true
		s.keepRefusals(message.GetAffiliates())
		return s.membership.snapshot(now, affiliates)
	}
	for _, a := range affiliates {
		changed = s.membership.set(now, a) || changed
	}
	return changed
}

// gone forgets what was deleted.
func (s *service) gone(affiliates []*serverpb.Affiliate) {
	ids := make([]string, len(affiliates))
	s.mu.Lock()
	for i, a := range affiliates {
		ids[i] = a.GetId()
		delete(s.refused, a.GetId())
		s.membership.remove(a.GetId())
	}
	s.mu.Unlock()
	s.client.deleted(s, ids)
}

// keepRefusals forgets the refusals of affiliates that a snapshot does not have.
// s.mu is held.
func (s *service) keepRefusals(snapshot []*serverpb.Affiliate) {
	present := make(map[string]bool, len(snapshot))
	for _, a := range snapshot {
		present[a.GetId()] = true
	}
	maps.DeleteFunc(s.refused, func(id, _ string) bool { return !present[id] })
}
