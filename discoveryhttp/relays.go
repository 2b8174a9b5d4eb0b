package discoveryhttp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/spanmesh/span/discoveryhttp/relaypb"
	"github.com/spanmesh/span/reconciler/failure"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/retry"
)

const (
	// firstRelayPause and maxRelayPause are the first and the longest pause between two attempts to
	// join a relay. Most services have none.
	firstRelayPause = time.Second
	maxRelayPause   = 10 * time.Minute
	// maxRefusedPause is the longest one with a service that has a relay.
	maxRefusedPause = time.Minute
	// joinEvery is the longest time between two calls.
	joinEvery = 10 * time.Minute
	// leastLease bounds how often a service makes machines join again.
	leastLease = time.Minute
	// relayAddresses is how many addresses of a relay's name are used.
	relayAddresses = 4
	// newPeersPause is how soon a relay is told of machines without an agent that have come.
	newPeersPause = time.Minute
	// maxWithoutAgent is how many of them a relay is told of: a request has at most 64 KiB.
	maxWithoutAgent = 1000
)

// joinSoon makes relayLoop look at once whether the relay is to be joined.
func (s *service) joinSoon() {
	select {
	case s.joining <- struct{}{}:
	default:
	}
}

// joined is what a relay was joined with.
type joined struct {
	as           mesh.PrivateKey
	withoutAgent []mesh.Key
	// until is when the machine joins again.
	until time.Time
}

// relayLoop keeps this machine joined to the service's relay, as long as that is wanted, until ctx ends.
func (s *service) relayLoop(ctx context.Context) {
	pauses := retry.New(firstRelayPause, maxRelayPause)
	var failures outage
	var last joined
	for {
		wait := newPeersPause
		as, known := s.client.joiner()
		next := joined{as: as, withoutAgent: s.withoutAgent()}
		switch now := time.Now(); {
		case !known:
			wait = maxRelayPause
		case next.as.IsZero():
			last, wait = joined{}, maxRelayPause
			s.noteJoining(nil)
			s.setRelay(nil)
		case next.as == last.as && now.Before(last.until) && slices.Equal(next.withoutAgent, last.withoutAgent):
			wait = min(wait, last.until.Sub(now))
		default:
			lease, err := s.joinRelay(ctx, next)
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				if wait = pauses.Next(); !isNoRelay(err) {
					wait = min(wait, maxRefusedPause)
				}
				s.noteNoRelay(err, &failures, wait)
				break
			}
			s.noteJoining(nil)
			failures.resolved()
			pauses.Reset()
			// Often enough that a relay which has lost its table is soon of use again.
			next.until = time.Now().Add(min(max(lease, leastLease)/2, joinEvery))
			last, wait = next, min(wait, time.Until(next.until))
		}
		woken := retry.Wait(ctx, wait, s.joining)
		if ctx.Err() != nil {
			return
		}
		if woken != nil {
			last = joined{}
			pauses.Reset()
		}
	}
}

// noteNoRelay notes why the relay was not joined.
func (s *service) noteNoRelay(err error, failures *outage, wait time.Duration) {
	if isNoRelay(err) {
		s.noteJoining(nil)
		s.setRelay(nil)
		return
	}
	s.noteJoining(err)
	s.client.log.Log(context.Background(), failures.level(), "relay not joined", "endpoint", s.endpoint, "error", err, "retry_in", roundPause(wait))
}

// noteJoining notes why the relay was not joined; nil if it was, or there is none to join.
func (s *service) noteJoining(err error) {
	s.note(func(now time.Time, _ *works) {
		s.notJoined = failure.Failure{}
		if err != nil {
			s.notJoined = failureOf(now, err)
		}
	})
}

// isNoRelay reports whether an error is the answer of a service without a relay. One of gRPC alone
// answers a call by Connect with HTTP's status 415, which has no code of its own.
func isNoRelay(err error) bool {
	answer, is := errors.AsType[*connect.Error](err)
	return is && (answer.Code() == connect.CodeUnimplemented || answer.Code() == connect.CodeUnknown)
}

// joiner returns the key to join relays with; zero to join none. It is not known before the machine has
// published itself: until then, an agent that starts keeps the relays of its predecessor.
func (c *Client) joiner() (key mesh.PrivateKey, known bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.joinAs, c.wanted != nil
}

// withoutAgent returns the keys of the machines that do not register with relays, sorted.
func (s *service) withoutAgent() (keys []mesh.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.membership.entries {
		if k := &e.KubeSpan; !k.IsZero() && k.WithoutAgent() {
			keys = append(keys, k.PublicKey)
		}
	}
	slices.SortFunc(keys, mesh.Key.Compare)
	keys = slices.Compact(keys)
	return keys[:min(len(keys), maxWithoutAgent)]
}

// setRelay sets the service's relay; nil for none.
func (s *service) setRelay(relay *mesh.BlindRelay) {
	s.mu.Lock()
	before := s.relay
	s.relay = relay
	s.mu.Unlock()
	if before == nil && relay == nil || before != nil && relay != nil && before.Equal(*relay) {
		return
	}
	if relay != nil {
		s.client.log.Info("relay joined", "relay", relay.Name, "endpoints", relay.Endpoints)
	}
	s.client.changed()
}

// joinRelay joins the service's relay, and returns for how long.
func (s *service) joinRelay(ctx context.Context, as joined) (lease time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*callTimeout)
	defer cancel()
	if err := s.ensureGreeted(ctx); err != nil {
		return 0, err
	}
	at, cluster := s.current(), s.client.options.ClusterID
	described, err := at.describe.CallUnary(ctx, connect.NewRequest(&relaypb.DescribeRequest{ClusterId: cluster}))
	if err != nil {
		return 0, plainError(err)
	}
	relay, host, port, err := relayOf(at.url, described.Msg)
	if err != nil {
		return 0, err
	}
	now, public := time.Now().Truncate(time.Second), as.as.Public()
	proof, err := s.client.options.Prove(as.as, relay.Key, cluster, now)
	if err != nil {
		return 0, fmt.Errorf("prove the key to the relay %s: %w", relay.Name, err)
	}
	request := &relaypb.JoinRequest{ClusterId: cluster, PublicKey: public[:], Made: timestamppb.New(now), Proof: proof}
	for _, k := range as.withoutAgent {
		request.KeysWithoutAgent = append(request.KeysWithoutAgent, k[:])
	}
	response, err := at.join.CallUnary(ctx, connect.NewRequest(request))
	if err != nil {
		return 0, plainError(err)
	}
	if relay.Endpoints, err = s.endpointsOf(ctx, host, port); err != nil {
		return 0, err
	}
	s.setRelay(relay)
	return response.Msg.GetLease().AsDuration(), nil
}

// relayOf returns what a service says of its relay, and the host and port of that.
func relayOf(service *url.URL, m *relaypb.DescribeResponse) (relay *mesh.BlindRelay, host string, port uint16, err error) {
	host, text, err := net.SplitHostPort(m.GetAddress())
	number, numberErr := strconv.ParseUint(text, 10, 16)
	if err != nil || numberErr != nil || number == 0 {
		return nil, "", 0, fmt.Errorf("the service says that its relay is at %q, which is no host:port", m.GetAddress())
	}
	if len(m.GetPublicKey()) != mesh.KeySize {
		return nil, "", 0, fmt.Errorf("the service says that the key of its relay has %d bytes", len(m.GetPublicKey()))
	}
	if host == "" {
		host = service.Hostname()
	}
	relay = &mesh.BlindRelay{Key: mesh.Key(m.GetPublicKey()), Name: host}
	if path := m.GetStreamPath(); path != "" {
		relay.URL = service.JoinPath(path).String()
	}
	return relay, host, uint16(number), nil
}

// endpointsOf returns the endpoints of a relay to which this machine has a route.
func (s *service) endpointsOf(ctx context.Context, host string, port uint16) (endpoints []netip.AddrPort, err error) {
	addresses, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, fmt.Errorf("find the relay: %w", err)
	}
	dial := s.client.options.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	var failures []error
	for _, a := range addresses[:min(len(addresses), 4*relayAddresses)] {
		e := netip.AddrPortFrom(a.Unmap().WithZone(""), port)
		conn, err := dial(ctx, "udp", e.String()) // which sends nothing
		if err != nil {
			failures = append(failures, err)
			continue
		}
		_ = conn.Close()
		if len(endpoints) < relayAddresses && !slices.Contains(endpoints, e) {
			endpoints = append(endpoints, e)
		}
	}
	if len(endpoints) == 0 {
		return nil, fmt.Errorf("there is no route to the relay %s: %w", host, errors.Join(failures...))
	}
	return endpoints, nil
}

// cachedRelays returns the relays of the services, by URL.
func (c *Client) cachedRelays() map[string]mesh.BlindRelay {
	relays := map[string]mesh.BlindRelay{}
	for _, s := range c.services {
		s.mu.Lock()
		if s.relay != nil {
			relays[s.endpoint] = *s.relay
		}
		s.mu.Unlock()
	}
	return relays
}
