package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/netlinkapply/echo"
	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/peer"
	"github.com/spanmesh/span/reconciler/resource"
	"github.com/spanmesh/span/reconciler/state"
)

// The bounds of a call of Ping, and what holds where it asks for nothing.
const (
	maxPings       = 4
	maxPingCount   = 3600
	usualPingCount = 4

	minPingInterval   = 200 * time.Millisecond
	maxPingInterval   = time.Minute
	usualPingInterval = time.Second
	maxPingWait       = time.Minute
	usualPingWait     = 2 * time.Second

	// pingSize is the size of an echo in bytes: that of ping(8), which is 56 bytes of data.
	pingSize = 104
)

// pinger is a Runner that can ping.
type pinger interface {
	// Scope returns the marks of the mesh; none before the first config.
	Scope() state.Scope
	// Slots has an element for each call of Ping under way.
	Slots() chan struct{}
}

var _ pinger = loopRunner{}

func (r loopRunner) Scope() state.Scope   { return r.loop.Scope() }
func (r loopRunner) Slots() chan struct{} { return r.pings }

// pingPlan is what a call of Ping asks for.
type pingPlan struct {
	count          int
	interval, wait time.Duration
}

// pingPlanOf returns what a request asks for, or an error if that is out of bounds.
func pingPlanOf(m *agentpb.PingRequest) (p pingPlan, err error) {
	if p.count = int(m.GetCount()); p.count == 0 {
		p.count = usualPingCount
	}
	if p.count > maxPingCount {
		return p, fmt.Errorf("%d echoes are too many: want at most %d", p.count, maxPingCount)
	}
	if p.interval = usualPingInterval; m.Interval != nil {
		p.interval = m.GetInterval().AsDuration()
	}
	if p.interval < minPingInterval || p.interval > maxPingInterval {
		return p, fmt.Errorf("an echo every %v: want an interval from %v to %v", p.interval, minPingInterval, maxPingInterval)
	}
	if p.wait = usualPingWait; m.Wait != nil {
		p.wait = m.GetWait().AsDuration()
	}
	if p.wait <= 0 || p.wait > maxPingWait {
		return p, fmt.Errorf("an answer within %v: want a wait of more than nothing, and at most %v", p.wait, maxPingWait)
	}
	return p, nil
}

// Ping implements the API.
func (s *service) Ping(ctx context.Context, req *connect.Request[agentpb.PingRequest], stream *connect.ServerStream[agentpb.PingResponse]) error {
	if err := s.ping(ctx, req.Msg, stream.Send); err != nil {
		return failed(err)
	}
	return nil
}

func (s *service) ping(ctx context.Context, m *agentpb.PingRequest, send func(*agentpb.PingResponse) error) error {
	runner, is := s.runner.(pinger)
	if err := s.runner.Running(); err != nil || !is {
		return err
	}
	plan, err := pingPlanOf(m)
	if err != nil {
		return &codedError{connect.CodeInvalidArgument, err}
	}
	store, err := s.runner.Resources(ctx, resource.PeerSpecs)
	if err != nil {
		return err
	}
	peers := pingPeers(store)
	peer, err := findPeer(m.GetPeer(), peers)
	if named, found := resource.Named(store, m.GetPeer()); found {
		if one, failure := findPeer(named.PublicKey, peers); failure == nil { // it may be this machine
			peer, err = one, nil
		}
	}
	if err != nil {
		return err
	}
	select {
	case runner.Slots() <- struct{}{}:
		defer func() { <-runner.Slots() }()
	default:
		return &codedError{connect.CodeResourceExhausted, fmt.Errorf("%d peers are pinged at once already: wait for one to end", maxPings)}
	}
	conn, link, err := dialPeer(runner.Scope(), peer)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if m.GetMtu() {
		found, err := conn.PathMTU(ctx, link.MTU, plan.wait)
		if err != nil {
			return err
		}
		return send(withPath(store, peer, &agentpb.PingResponse{PathMtu: &agentpb.PathMTU{
			Answers: found.Answers, Full: uint32(found.Full), Passes: uint32(found.Passes)}}))
	}
	return plan.run(ctx, conn, func(response *agentpb.PingResponse) error { return send(withPath(store, peer, response)) })
}

// dialPeer opens a connection for echoes to a peer.
func dialPeer(scope state.Scope, to pingPeer) (*echo.Conn, *net.Interface, error) {
	if !to.address.Is6() {
		return nil, nil, &codedError{connect.CodeFailedPrecondition, fmt.Errorf("%s has no IPv6 address in the mesh, and echoes are ICMPv6", to.name)}
	}
	return dialEcho(scope, to.address)
}

// dialEcho opens a connection for echoes over the link of a mesh.
func dialEcho(scope state.Scope, to netip.Addr) (*echo.Conn, *net.Interface, error) {
	link, err := net.InterfaceByName(scope.LinkName)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: there is no link %q", reconciler.ErrNoMesh, scope.LinkName)
	}
	conn, err := echo.Dial(scope.LinkName, scope.RoutedMark, to)
	if errors.Is(err, echo.ErrNotPermitted) {
		err = &codedError{connect.CodeFailedPrecondition, err}
	}
	return conn, link, err
}

// run sends echoes, and passes on what becomes of each.
func (p pingPlan) run(ctx context.Context, conn *echo.Conn, answered func(*agentpb.PingResponse) error) error {
	next := time.NewTicker(p.interval)
	defer next.Stop()
	for i := range p.count {
		response := &agentpb.PingResponse{Sequence: uint32(i + 1)}
		rtt, ok, err := conn.Echo(ctx, pingSize, p.wait)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			response.Error = err.Error() // such as that WireGuard knows no endpoint
		case ok:
			response.Rtt = durationpb.New(rtt)
		}
		if err := answered(response); err != nil {
			return err
		}
		if i == p.count-1 {
			break
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-next.C:
		}
	}
	return nil
}

// withPath completes a response by the peer's name and the way to it.
func withPath(store *resource.Store, to pingPeer, response *agentpb.PingResponse) *agentpb.PingResponse {
	response.Peer = to.name
	for _, r := range store.List(resource.PeerStatuses) {
		if status, is := r.Spec.(resource.PeerStatus); is && r.ID == to.Key {
			response.Relay, response.BlindRelay = status.Relay, status.BlindRelay
			response.OverTcp = status.Path == peer.PathBlindRelayTCP
			if status.Endpoint.IsValid() {
				response.Endpoint = status.Endpoint.String()
			}
		}
	}
	return response
}
