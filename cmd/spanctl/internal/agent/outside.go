package agent

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/spanmesh/span/discoveryhttp/stun"
	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/outside"
	"github.com/spanmesh/span/reconciler/resource"
	"github.com/spanmesh/span/reconciler/when"
)

const (
	// resolveTimeout bounds how long the names of all servers take.
	resolveTimeout = 5 * time.Second
	// perName is how many addresses of a name are asked, of each IP version.
	perName = 2
)

// outsider finds how NATs map WireGuard's port.
type outsider struct {
	// resolve returns the addresses of a host, and report takes what has changed.
	resolve func(ctx context.Context, host string) ([]netip.Addr, error)
	report  func(mesh.Outside)
	log     *slog.Logger

	// turns has the last turn of the loop, and answers what servers say.
	turns   lastTurn
	answers chan stunAnswer

	// The fields below belong to run.

	turn   reconciler.Turn
	v4, v6 outside.Asker
	shared *sharing
	found  finding
	// reported is what was reported last.
	reported mesh.Outside
	// beyond are the peers that are reached through the gateway and without a relay, and losses counts
	// those that no longer are.
	beyond map[string]bool
	losses int
}

// stunAnswer is what a server has answered: it has seen the port at an address.
type stunAnswer struct {
	from netip.AddrPort
	id   stun.ID
	seen netip.AddrPort
}

// newOutsider returns an outsider for the mesh of a loop, which shares a port of ports.
func newOutsider(loop *reconciler.Loop, ports *sharedPorts, log *slog.Logger) *outsider {
	return makeOutsider(&outsider{report: loop.SetOutside, log: log, shared: ports.sharing(log),
		resolve: func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}})
}

// makeOutsider makes the parts of an outsider that are its own.
func makeOutsider(o *outsider) *outsider {
	o.turns, o.answers = newLastTurn(), make(chan stunAnswer, 4*outside.MaxServers)
	for _, a := range []*outside.Asker{&o.v4, &o.v6} {
		a.NewID = func() (id outside.ID) {
			_, _ = rand.Read(id[:]) // never fails
			return id
		}
	}
	return o
}

// run asks until ctx ends.
func (o *outsider) run(ctx context.Context) {
	defer o.shared.stop()
	for {
		var due <-chan time.Time
		if next := o.step(ctx, time.Now()); !next.IsZero() {
			due = time.After(time.Until(next))
		}
		select {
		case <-ctx.Done():
			return
		case o.turn = <-o.turns:
			o.countLosses()
		case <-due:
		case a := <-o.answers:
			o.v4.Heard(a.from, a.id, a.seen)
			o.v6.Heard(a.from, a.id, a.seen)
		case conn := <-o.shared.ended:
			o.shared.lost(conn, time.Now())
		}
	}
}

// step asks what is due, and returns when the next step is due; zero for never.
func (o *outsider) step(ctx context.Context, now time.Time) (next time.Time) {
	if o.asks() {
		if again := o.shared.keep(now, uint16(o.turn.Mesh.Port), o.turn.Config.KubeSpan().FirewallMark, o.take); !again.IsZero() {
			o.forget(now)
			return again
		}
		o.findServers(ctx, now)
	} else {
		o.shared.stop()
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
		next = when.Earlier(next, due)
	}
	o.reportNew(mesh.Outside{IPv4: o.v4.Mapping(), IPv6: o.v6.Mapping()})
	return next
}

// forget forgets what was found.
func (o *outsider) forget(now time.Time) {
	for _, a := range []*outside.Asker{&o.v4, &o.v6} {
		_, _ = a.Step(now, outside.Question{}) // nothing is sent
	}
	o.reportNew(mesh.Outside{})
}

// asks reports whether there is a mesh whose config asks.
func (o *outsider) asks() bool {
	config := o.turn.Config
	return config != nil && config.KubeSpan().Enabled && config.KubeSpan().NAT.STUN && o.turn.Mesh.Link != ""
}

// reportNew reports what was found, if that has changed.
func (o *outsider) reportNew(found mesh.Outside) {
	if found.Equal(o.reported) {
		return
	}
	o.reported = found
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
	q := outside.Question{Port: uint16(o.turn.Mesh.Port), Network: o.turn.NetworkChanges, Kept: o.isKept(is4), Losses: o.losses, Returns: o.turn.Probing.Self.Returns}
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

// countLosses counts the peers that were reached through the gateway, and are known and no longer reached
// so: the NAT may map the port otherwise by now.
func (o *outsider) countLosses() {
	now := make(map[string]bool, len(o.turn.Peers))
	for _, r := range o.turn.Peers {
		e, up := directly(r)
		now[r.ID] = up && !o.isNear(e.Addr())
		if o.beyond[r.ID] && !now[r.ID] {
			o.losses++
		}
	}
	o.beyond = now
}

// isNear reports whether a link is attached to an address' network.
func (o *outsider) isNear(a netip.Addr) bool {
	return slices.ContainsFunc(o.turn.Host.Links, func(l mesh.Link) bool {
		return slices.ContainsFunc(l.Networks, func(n netip.Prefix) bool { return n.Contains(a) })
	})
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
