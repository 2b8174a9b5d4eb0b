package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"

	"github.com/spanmesh/span/netlinkapply/sharedport"
	"github.com/spanmesh/span/reconciler/condition"
)

// sharedPorts opens one share of WireGuard's port for all who use it, and says why there is none. It is
// safe for concurrent use.
type sharedPorts struct {
	open func(port uint16, mark uint32) (sharedConn, error)
	// stand shows the conditions of a code.
	stand func(context.Context, condition.Code, ...condition.Condition) error
	log   *slog.Logger

	mu    sync.Mutex
	ports map[portAndMark]*portShare
	// faults are why users have no share, and changed has an element when that is to be judged.
	faults  map[*sharing]error
	changed chan struct{}
}

type portAndMark struct {
	port uint16
	mark uint32
}

// portShare is a share that is open.
type portShare struct {
	conn  sharedConn
	users map[*portUser]bool
	// takers are what the users have called. The list is replaced, not changed.
	takers []func(netip.AddrPort, []byte)
	// sending is held by who sends: the socket takes one packet at a time.
	sending sync.Mutex
}

func newSharedPorts(open func(uint16, uint32) (sharedConn, error), stand func(context.Context, condition.Code, ...condition.Condition) error, log *slog.Logger) *sharedPorts {
	return &sharedPorts{open: open, stand: stand, log: log, ports: map[portAndMark]*portShare{}, faults: map[*sharing]error{}, changed: make(chan struct{}, 1)}
}

// sharing returns a share for a user.
func (p *sharedPorts) sharing(log *slog.Logger) *sharing {
	s := newSharing(p.use, nil, log)
	s.note = func(err error) { p.note(s, err) }
	return s
}

// note takes why a user has no share.
func (p *sharedPorts) note(user *sharing, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if delete(p.faults, user); err != nil {
		p.faults[user] = err
	}
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

// fault returns why there is no share; nil if there is.
func (p *sharedPorts) fault() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, err := range p.faults {
		return err
	}
	return nil
}

// run shows the condition of ports that cannot be shared, until ctx ends.
func (p *sharedPorts) run(ctx context.Context) {
	shown := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.changed:
		}
		text, err := "", p.fault()
		if err != nil {
			text = err.Error()
		}
		if text == shown {
			continue
		}
		if p.stand(ctx, condition.PortNotShared, notShared(err)...) == nil {
			shown = text
		}
	}
}

// notShared returns the condition of a port that cannot be shared; none without an error.
func notShared(err error) []condition.Condition {
	if err == nil {
		return nil
	}
	c := condition.Condition{Code: condition.PortNotShared,
		Cause:  fmt.Sprintf("the outside address is not asked for, and no direct path through NATs is looked for: %v", err),
		Remedy: "remove what the error names; or set nat.stun and nat.punch to false"}
	if errors.Is(err, sharedport.ErrNotPermitted) {
		c.Remedy = "give the agent CAP_NET_RAW, such as by AmbientCapabilities= and CapabilityBoundingSet= of its unit, or the capabilities of its container; or set nat.stun and nat.punch to false"
	}
	return []condition.Condition{c}
}

// use opens a share of a port with a firewall mark, or joins the one that is open.
func (p *sharedPorts) use(port uint16, mark uint32) (sharedConn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := portAndMark{port, mark}
	share := p.ports[key]
	if share == nil {
		conn, err := p.open(port, mark)
		if err != nil {
			return nil, err
		}
		share = &portShare{conn: conn, users: map[*portUser]bool{}}
		p.ports[key] = share
		go p.receive(key, share)
	}
	u := &portUser{ports: p, key: key, share: share, ended: make(chan error, 1)}
	share.users[u] = true
	return u, nil
}

// receive passes what comes to the users of a share, until all have closed it, or it fails.
func (p *sharedPorts) receive(key portAndMark, share *portShare) {
	err := share.conn.Receive(func(from netip.AddrPort, payload []byte) {
		for _, take := range p.takers(share) {
			take(from, payload)
		}
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ports[key] == share {
		delete(p.ports, key)
	}
	if err == nil {
		return
	}
	p.log.Warn("shared port failed", "port", key.port, "error", err)
	for u := range share.users {
		u.ended <- err
	}
}

// takers returns what is called with a packet.
func (p *sharedPorts) takers(share *portShare) []func(netip.AddrPort, []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return share.takers
}

// listTakers makes the list of those who receive. The caller holds ports.mu.
func (s *portShare) listTakers() {
	var all []func(netip.AddrPort, []byte)
	for u := range s.users {
		if u.take != nil {
			all = append(all, u.take)
		}
	}
	s.takers = all
}

// portUser is a user of a share.
type portUser struct {
	ports *sharedPorts
	key   portAndMark
	share *portShare
	// take is nil before Receive; ports.mu guards it.
	take func(netip.AddrPort, []byte)
	// ended has how the share has ended.
	ended chan error
}

// Send implements sharedConn.
func (u *portUser) Send(to netip.AddrPort, payload []byte, hops uint8) error {
	u.share.sending.Lock()
	defer u.share.sending.Unlock()
	return u.share.conn.Send(to, payload, hops)
}

// Receive implements sharedConn.
func (u *portUser) Receive(take func(from netip.AddrPort, payload []byte)) error {
	u.ports.mu.Lock()
	u.take = take
	u.share.listTakers()
	u.ports.mu.Unlock()
	return <-u.ended
}

// Close implements sharedConn. The last user closes the share.
func (u *portUser) Close() error {
	u.ports.mu.Lock()
	defer u.ports.mu.Unlock()
	if !u.share.users[u] {
		return nil
	}
	delete(u.share.users, u)
	u.share.listTakers()
	select {
	case u.ended <- nil:
	default: // it has failed
	}
	if len(u.share.users) > 0 {
		return nil
	}
	if u.ports.ports[u.key] == u.share {
		delete(u.ports.ports, u.key)
	}
	return u.share.conn.Close()
}
