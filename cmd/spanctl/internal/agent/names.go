package agent

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/cmd/spanctl/internal/nameserver"
	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/names"
	"github.com/spanmesh/span/reconciler/resource"
	"github.com/spanmesh/span/reconciler/when"
)

const (
	// namesPause is the least time from one change of the names to the next. Changes that come meanwhile are
	// one, and so are those within namesCollect of the first.
	namesPause, namesCollect = time.Second, 50 * time.Millisecond
	// namesCheck is how often it is looked whether others have changed how names are resolved, and namesRetry
	// how soon that is tried again where it failed.
	namesCheck, namesRetry = 30 * time.Second, 5 * time.Second
)

// namer has the names of the mesh resolved on this machine. What it has made stays when the agent ends, but
// for the name servers, which are the agent's own.
type namer struct {
	store *resource.Store
	force nameForce
	// report takes what keeps names from being resolved; nothing if all is well.
	report func(found ...condition.Condition)
	log    *slog.Logger
	// turns has the last turn of the loop.
	turns lastTurn
	// state is what others are shown; nil while no names are asked for.
	state atomic.Pointer[agentpb.Names]

	// The fields below belong to run.

	turn reconciler.Turn
	// want is what the last turn asks for. known is set once that is known.
	want  nameWant
	known bool
	// roster and changes follow the machines while names are wanted; unfollow ends that.
	roster   *nameRoster
	changes  chan []resource.Change
	unfollow func()
	table    *names.Table
	zone     atomic.Pointer[nameserver.Zone]
	servers  map[netip.Addr]*nameserver.Server
	// fallen has the servers that have ended.
	fallen chan *nameserver.Server
	// renewed is when the table was made anew last, and renew when that is due.
	renewed, renew time.Time
	// check is when the rest is due.
	check time.Time
	// reported are the conditions that were reported last.
	reported []condition.Condition
}

// nameWant is what names are made and resolved with.
type nameWant struct {
	// on is set where the config asks for names.
	on     bool
	domain string
	// link and index are those of the mesh's link; empty and 0 where there is no mesh.
	link  string
	index int
	// addresses are those at which DNS queries are answered, that in the mesh first.
	addresses [2]netip.Addr
	// networks are those of the mesh's addresses.
	networks []netip.Prefix
	nodeID   string
}

func (w *nameWant) equal(o *nameWant) bool {
	return w.on == o.on && w.domain == o.domain && w.sameServers(o) && w.nodeID == o.nodeID && slices.Equal(w.networks, o.networks)
}

// sameServers reports whether DNS queries are answered at the same places.
func (w *nameWant) sameServers(o *nameWant) bool {
	return w.link == o.link && w.index == o.index && w.addresses == o.addresses
}

// reverseZones returns the zones of the mesh's addresses.
func (w *nameWant) reverseZones() (zones []string) {
	for _, n := range w.networks {
		for _, zone := range names.ReverseZones(n) {
			if !slices.Contains(zones, zone) {
				zones = append(zones, zone)
			}
		}
	}
	return zones
}

// newNamer returns a namer for the mesh of a loop.
func (d *deps) newNamer(ctx context.Context, loop *reconciler.Loop) *namer {
	return &namer{store: d.store, force: nameForce{hosts: d.hosts, resolver: systemdResolved{}, log: d.log}, log: d.log, turns: newLastTurn(),
		servers: map[netip.Addr]*nameserver.Server{}, fallen: make(chan *nameserver.Server, 8), report: func(found ...condition.Condition) {
			_ = loop.Stand(ctx, condition.NamesNotInForce, found...) // it fails where the agent stops
		}}
}

// run keeps the names until ctx ends.
func (n *namer) run(ctx context.Context) {
	defer n.stop()
	for {
		var due <-chan time.Time
		if next := when.Earlier(n.renew, n.check); !next.IsZero() {
			due = time.After(time.Until(next))
		}
		select {
		case <-ctx.Done():
			return
		case n.turn = <-n.turns:
			n.follow(ctx)
		case changes := <-n.changes:
			n.take(changes)
			continue
		case <-due:
		case server := <-n.fallen:
			n.drop(server)
		}
		n.step(ctx, time.Now())
	}
}

// wanted returns what the last turn asks for. It is not known before the first pass.
func (n *namer) wanted() (w nameWant, known bool) {
	config := n.turn.Config
	if config == nil {
		return w, false
	}
	kubespan, m := config.KubeSpan(), &n.turn.Mesh
	if n.turn.Down || !kubespan.Enabled {
		return w, true
	}
	w = nameWant{on: kubespan.Names.Enabled, domain: kubespan.Names.Domain, link: m.Link, nodeID: m.NodeID,
		addresses: [2]netip.Addr{m.Address, loopbackOf(kubespan.ListenPort)}, networks: []netip.Prefix{m.Subnet}}
	for _, a := range kubespan.Addresses {
		w.networks = append(w.networks, a.Masked())
	}
	if link, err := net.InterfaceByName(m.Link); err == nil {
		w.index = link.Index
	}
	return w, w.index != 0
}

// follow has the last turn decide what is wanted.
func (n *namer) follow(ctx context.Context) {
	want, known := n.wanted()
	if !known || n.known && want.equal(&n.want) {
		return
	}
	before := n.want
	n.want, n.known, n.renew, n.check = want, true, time.Time{}, time.Now()
	switch {
	case !want.on:
		n.stop()
		n.store.Replace(time.Now(), resource.MeshNames, nil)
		n.state.Store(nil)
	case !before.on || before.nodeID != want.nodeID:
		n.stop()
		n.watch(ctx)
	case !before.sameServers(&want):
		n.closeServers()
	}
	n.table = nil
}

// watch follows the machines until unfollow is called.
func (n *namer) watch(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	group, ctx := errgroup.WithContext(ctx)
	n.roster, n.changes = newNameRoster(n.want.nodeID), make(chan []resource.Change)
	for _, t := range []*resource.Type{resource.Affiliates, resource.PeerSpecs} {
		there, watcher := n.store.Watch(t)
		for _, r := range there {
			n.roster.take(resource.Change{Resource: r})
		}
		changes := n.changes
		group.Go(func() error {
			defer watcher.Close()
			for {
				news, err := watcher.Next(ctx)
				if err != nil {
					return err
				}
				select {
				case changes <- news:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
		})
	}
	n.unfollow = func() {
		cancel()
		_ = group.Wait() // it ends with ctx
	}
}

// take takes news of the machines.
func (n *namer) take(changes []resource.Change) {
	for _, c := range changes {
		n.roster.take(c)
	}
	if n.roster.changed && n.renew.IsZero() {
		now := time.Now()
		n.renew = now.Add(max(namesCollect, n.renewed.Add(namesPause).Sub(now)))
	}
}

// stop ends what serves and follows, and leaves how names are resolved as it is.
func (n *namer) stop() {
	if n.unfollow != nil {
		n.unfollow()
	}
	n.unfollow, n.changes, n.roster, n.table = nil, nil, nil, nil
	n.closeServers()
}

// step does what is due.
func (n *namer) step(ctx context.Context, now time.Time) {
	isDue := func(t time.Time) bool { return !t.IsZero() && !t.After(now) }
	if n.known && !n.want.on {
		if isDue(n.check) {
			n.withdraw(ctx, now)
		}
		return
	}
	changed := false
	if n.known && (isDue(n.renew) || n.table == nil) {
		n.renew, n.renewed = time.Time{}, now
		changed = n.makeTable(now)
	}
	if !n.known || !changed && !isDue(n.check) {
		return
	}
	found := n.listen(ctx)
	by, more := n.force.apply(ctx, now, &n.want, n.table, n.serving())
	found = append(found, more...)
	if ctx.Err() != nil {
		return
	}
	n.reportNew(found)
	if n.check = now.Add(namesCheck); len(found) > 0 || by == "" {
		n.check = now.Add(namesRetry)
	}
	n.show(by)
}

// withdraw has no names resolved.
func (n *namer) withdraw(ctx context.Context, now time.Time) {
	found := n.force.withdraw(ctx, &n.want)
	if ctx.Err() != nil {
		return
	}
	n.reportNew(found)
	if n.check = (time.Time{}); len(found) > 0 {
		n.check = now.Add(namesRetry)
	}
}

// makeTable makes the names anew, and reports whether they have changed.
func (n *namer) makeTable(now time.Time) (changed bool) {
	table := n.roster.table(n.want.domain)
	if n.table.Equal(table) {
		return false
	}
	n.table = table
	n.zone.Store(&nameserver.Zone{Table: table, Reverse: n.want.reverseZones(), Networks: n.want.networks})
	n.store.Replace(now, resource.MeshNames, n.roster.resources(table))
	n.log.Debug("names changed", "domain", n.want.domain, "machines", len(table.Hosts), "unnamed", len(table.Unnamed))
	return true
}

// listen answers DNS queries at the addresses that are wanted, as far as that is possible.
func (n *namer) listen(ctx context.Context) (found []condition.Condition) {
	for _, at := range n.want.addresses {
		if n.servers[at] != nil {
			continue
		}
		server, err := nameserver.Listen(ctx, at, n.want.link, &n.zone, n.fallen, n.log)
		if err != nil {
			found = append(found, notServed(netip.AddrPortFrom(at, nameserver.Port), err))
			continue
		}
		n.servers[at] = server
		n.log.Info("listening", "for", "names", "address", netip.AddrPortFrom(at, nameserver.Port).String())
	}
	return found
}

// serving returns the addresses at which DNS queries are answered, that in the mesh first.
func (n *namer) serving() (all []netip.Addr) {
	for _, at := range n.want.addresses {
		if n.servers[at] != nil {
			all = append(all, at)
		}
	}
	return all
}

// drop forgets a server that has ended by itself. Another one is started.
func (n *namer) drop(server *nameserver.Server) {
	for at, s := range n.servers {
		if s == server {
			delete(n.servers, at)
			server.Close()
			n.check = time.Now()
		}
	}
}

// closeServers closes the servers.
func (n *namer) closeServers() {
	for at, s := range n.servers {
		delete(n.servers, at)
		s.Close()
	}
}

// reportNew reports conditions that have changed.
func (n *namer) reportNew(found []condition.Condition) {
	if slices.Equal(found, n.reported) {
		return
	}
	n.reported = found
	n.report(found...)
}

// show makes it known how names are resolved.
func (n *namer) show(by string) {
	s := &agentpb.Names{Domain: n.want.domain, ResolvedBy: by, Machines: uint32(len(n.table.Hosts))}
	for _, at := range n.serving() {
		s.Servers = append(s.Servers, netip.AddrPortFrom(at, nameserver.Port).String())
	}
	if before := n.state.Swap(s); by != "" && before.GetResolvedBy() != by {
		n.log.Info("names in force", "domain", s.GetDomain(), "by", by)
	}
}

// shown returns how names are resolved; nil where the config does not ask for that. It may be called
// concurrently.
func (n *namer) shown() *agentpb.Names { return n.state.Load() }
