package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/spanmesh/span/discoveryhttp/stun"
	"github.com/spanmesh/span/netlinkapply/sharedport"
	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/outside"
	"github.com/spanmesh/span/reconciler/resource"
)

const (
	// shareRetry is the pause after which the port is shared again that could not be.
	shareRetry = time.Minute
	// resolveTimeout bounds how long the names of all servers take.
	resolveTimeout = 5 * time.Second
	// perName is how many addresses of a name are asked, of each IP version.
	perName = 2
)

// sharedConn is a sharedport.Conn.
type sharedConn interface {
	Send(to netip.AddrPort, payload []byte, hops uint8) error
	Receive(take func(from netip.AddrPort, payload []byte)) error
	Close() error
}

// outsider finds how NATs map WireGuard's port.
type outsider struct {
	// share shares a port, with a firewall mark; resolve returns the addresses of a host, and report
	// takes what has changed.
	share   func(port uint16, mark uint32) (sharedConn, error)
	resolve func(ctx context.Context, host string) ([]netip.Addr, error)
	report  func(mesh.Outside)
	log     *slog.Logger

	// turns has the last turn of the loop, answers what servers say, and ended the connections that
	// receive no more.
	turns   chan reconciler.Turn
	answers chan stunAnswer
	ended   chan sharedConn

	// The fields below belong to run.

	turn   reconciler.Turn
	v4, v6 outside.Asker
	shared sharing
	found  finding
	told   mesh.Outside
}

// stunAnswer is what a server has answered: it has seen the port at an address.
type stunAnswer struct {
	from netip.AddrPort
	id   stun.ID
	seen netip.AddrPort
}

// sharing is a port that is shared.
type sharing struct {
	port uint16
	mark uint32
	// conn is nil if the port could not be shared; it is tried again at a time.
	conn  sharedConn
	again time.Time
}

// newOutsider returns an outsider for the mesh of a loop.
func newOutsider(loop *reconciler.Loop, log *slog.Logger) *outsider {
	return makeOutsider(&outsider{report: loop.SetOutside, log: log,
		share: func(port uint16, mark uint32) (sharedConn, error) { return sharedport.Open(port, mark) },
		resolve: func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}})
}

// makeOutsider makes the parts of an outsider that are its own.
func makeOutsider(o *outsider) *outsider {
	o.turns, o.answers, o.ended = make(chan reconciler.Turn, 1), make(chan stunAnswer, 4*outside.MaxServers), make(chan sharedConn, 1)
	for _, a := range []*outside.Asker{&o.v4, &o.v6} {
		a.NewID = func() (id outside.ID) {
			_, _ = rand.Read(id[:]) // never fails
			return id
		}
	}
	return o
}

// turned returns what a loop calls after each turn: it passes the turn on, and keeps it for run.
func (o *outsider) turned(next func(reconciler.Turn)) func(reconciler.Turn) {
	return func(turn reconciler.Turn) {
		select {
		case <-o.turns:
		default:
		}
		o.turns <- turn // the loop alone sends
		if next != nil {
			next(turn)
		}
	}
}

// run asks until ctx ends.
func (o *outsider) run(ctx context.Context) {
	defer o.unshare()
	for {
		var due <-chan time.Time
		if next := o.step(ctx, time.Now()); !next.IsZero() {
			due = time.After(time.Until(next))
		}
		select {
		case <-ctx.Done():
			return
		case o.turn = <-o.turns:
		case <-due:
		case a := <-o.answers:
			o.v4.Heard(a.from, a.id, a.seen)
			o.v6.Heard(a.from, a.id, a.seen)
		case conn := <-o.ended:
			if conn == o.shared.conn {
				_ = conn.Close() // it works no more
				o.shared.conn, o.shared.again = nil, time.Now().Add(shareRetry)
			}
		}
	}
}

// step asks what is due, and returns when the next step is due; zero for never.
func (o *outsider) step(ctx context.Context, now time.Time) (next time.Time) {
	if o.asks() {
		if again := o.keepShared(now); !again.IsZero() {
			o.forget(now)
			return again
		}
		o.findServers(ctx, now)
	} else {
		o.unshare()
	}
	for _, a := range []struct {
		asker *outside.Asker
		is4   bool
	}{{&o.v4, true}, {&o.v6, false}} {
		send, due := a.asker.Step(now, o.question(a.is4))
		for _, r := range send {
			if err := o.shared.conn.Send(r.To, stun.Request(r.ID), 0); err != nil {
				o.log.Debug("outside address not asked for", "server", r.To.String(), "error", err)
			}
		}
		if !due.IsZero() && (next.IsZero() || due.Before(next)) {
			next = due
		}
	}
	o.tell(mesh.Outside{IPv4: o.v4.Mapping(), IPv6: o.v6.Mapping()})
	return next
}

// forget forgets what was found.
func (o *outsider) forget(now time.Time) {
	for _, a := range []*outside.Asker{&o.v4, &o.v6} {
		_, _ = a.Step(now, outside.Question{}) // nothing is sent
	}
	o.tell(mesh.Outside{})
}

// asks reports whether there is a mesh whose config asks.
func (o *outsider) asks() bool {
	config := o.turn.Config
	return config != nil && config.KubeSpan().Enabled && config.KubeSpan().NAT.STUN && o.turn.Mesh.Link != ""
}

// tell reports what has changed.
func (o *outsider) tell(found mesh.Outside) {
	if found.Equal(o.told) {
		return
	}
	o.told = found
	for _, m := range []mesh.Mapping{found.IPv4, found.IPv6} {
		if m.Address.IsValid() {
			o.log.Info("outside address found", "address", m.Address.String(), "nat", string(m.Kind), "ports", m.Ports)
		}
	}
	o.report(found)
}

// question returns what the servers of an IP version are asked for.
func (o *outsider) question(is4 bool) outside.Question {
	if !o.asks() {
		return outside.Question{}
	}
	q := outside.Question{Port: uint16(o.turn.Mesh.Port), Network: o.turn.NetworkChanges, Kept: o.isKept(is4)}
	for _, a := range o.turn.Host.Own {
		if a.Is4() == is4 && o.isOutside(a) {
			q.Own = append(q.Own, a)
		}
	}
	for _, s := range o.found.servers {
		if s.Addr().Is4() == is4 && len(q.Own) > 0 {
			q.Servers = append(q.Servers, s)
		}
	}
	return q
}

func (o *outsider) isOutside(a netip.Addr) bool {
	return mesh.IsOutside(o.turn.Mesh.Subnet, o.turn.Config.KubeSpan(), a)
}

// isKept reports whether WireGuard keeps a NAT's mapping by itself: by its keepalives to a peer on the
// other side of the gateway.
func (o *outsider) isKept(is4 bool) bool {
	return o.turn.Config.KubeSpan().PersistentKeepalive > 0 && slices.ContainsFunc(o.turn.Peers, func(r resource.Resource) bool {
		e, up := directly(r)
		return up && e.Addr().Is4() == is4 && !o.isNear(e.Addr())
	})
}

// isNear reports whether a link is attached to an address' network.
func (o *outsider) isNear(a netip.Addr) bool {
	return slices.ContainsFunc(o.turn.Host.Links, func(l mesh.Link) bool {
		return slices.ContainsFunc(l.Networks, func(n netip.Prefix) bool { return n.Contains(a) })
	})
}

// keepShared shares the port of the mesh. If it cannot, it returns when that is tried again.
func (o *outsider) keepShared(now time.Time) (again time.Time) {
	port, mark := uint16(o.turn.Mesh.Port), o.turn.Config.KubeSpan().FirewallMark
	s := &o.shared
	same := s.port == port && s.mark == mark
	if same && (s.conn != nil || now.Before(s.again)) {
		return s.again
	}
	o.unshare()
	conn, err := o.share(port, mark)
	*s = sharing{port: port, mark: mark}
	if err != nil {
		s.again = now.Add(shareRetry)
		if !same {
			o.log.Warn("outside address not asked for: WireGuard's port cannot be shared", "error", err)
		}
		return s.again
	}
	s.conn = conn
	go func() {
		if err := conn.Receive(o.take); err != nil {
			o.log.Warn("answers about the outside address not received", "error", err)
			o.ended <- conn
		}
	}()
	return time.Time{}
}

// take takes what comes to the port. What is more than run takes in time is lost.
func (o *outsider) take(from netip.AddrPort, payload []byte) {
	if id, seen, ok := stun.ParseAnswer(payload); ok {
		select {
		case o.answers <- stunAnswer{from, id, seen}:
		default:
		}
	}
}

// unshare closes what is shared.
func (o *outsider) unshare() {
	if o.shared.conn != nil {
		if err := o.shared.conn.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			o.log.Debug("shared port not closed", "error", err)
		}
	}
	o.shared = sharing{}
}
