package reconciler

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/spanmesh/span/reconciler/health"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/peer"
)

// Path is the way to a peer that is reached.
type Path struct {
	// Peer is the peer's public key.
	Peer mesh.Key
	// Address is the peer's address inside of the tunnel.
	Address netip.Addr
	// Endpoint is where the peer is reached; invalid behind a relay.
	Endpoint netip.AddrPort
	// Relay is the peer that carries this one's traffic; zero for none.
	Relay mesh.Key
	// MTU is the link's MTU in bytes.
	MTU int
}

// paths are the ways to the peers, and those of them on which large packets are lost.
type paths struct {
	known map[mesh.Key]Path
	holes map[mesh.Key]health.PathMTU
}

// followPaths calls PathChanged with the paths that are new with a pass.
func (e *Engine) followPaths(p *Pass) {
	if e.PathChanged == nil {
		return
	}
	if !p.allStepped && (isSame(e.followed, p.specs) || p.patched.edited(e.followed)) {
		e.followed = p.specs
		for _, i := range p.patched.left {
			e.paths.forget(p.patched.before[i].PublicKey)
		}
		for _, path := range e.paths.followStepped(p) {
			e.PathChanged(path)
		}
		return
	}
	e.followed = p.specs
	var found []Path
	for i := range p.peers {
		c := &p.peers[i]
		if path, reached := pathOf(p, &p.specs[i], c); reached {
			found = append(found, path)
		}
	}
	for _, path := range e.paths.follow(found) {
		e.PathChanged(path)
	}
}

// followStepped is follow of the peers that a pass has stepped: the ways to the others are as they were.
func (p *paths) followStepped(pass *Pass) (changed []Path) {
	for _, i := range pass.stepped {
		path, reached := pathOf(pass, &pass.specs[i], &pass.peers[i])
		before, is := p.known[path.Peer]
		switch {
		case reached && (!is || before != path):
			delete(p.holes, path.Peer)
			p.known[path.Peer] = path
			changed = append(changed, path)
		case !reached && is:
			p.forget(path.Peer)
		}
	}
	return changed
}

// forget forgets the way to a peer.
func (p *paths) forget(key mesh.Key) {
	delete(p.holes, key)
	delete(p.known, key)
}

// pathOf returns the way to a peer, if it is reached and takes echoes.
func pathOf(p *Pass, spec *mesh.PeerSpec, c *peer.Connection) (path Path, reached bool) {
	path = Path{Peer: c.Key, Address: probeAddress(spec), Relay: c.Relay, MTU: p.mtu}
	switch {
	case !path.Address.Is6():
		return path, false
	case c.Relayed():
		return path, true
	default:
		path.Endpoint = c.Status.Endpoint
		return path, c.IsUp()
	}
}

// follow makes found the present ways and returns those that are new. What was measured on others
// is forgotten.
func (p *paths) follow(found []Path) (changed []Path) {
	if p.known == nil {
		p.known, p.holes = map[mesh.Key]Path{}, map[mesh.Key]health.PathMTU{}
	}
	present := 0
	for _, path := range found {
		switch before, is := p.known[path.Peer]; {
		case !is:
		case before == path:
			present++
			continue
		default:
			present++
			delete(p.holes, path.Peer)
		}
		changed = append(changed, path)
	}
	if present < len(p.known) {
		kept := make(map[mesh.Key]Path, len(found))
		for _, path := range found {
			kept[path.Peer] = path
		}
		for key := range p.known {
			if _, stays := kept[key]; !stays {
				delete(p.holes, key)
			}
		}
		p.known = kept
	}
	for _, path := range changed {
		p.known[path.Peer] = path
	}
	return changed
}

// measured notes what passes on a way, and reports whether that is the present one. Name is the
// peer's.
func (p *paths) measured(path Path, name string, full, passes int) (current bool) {
	if p.known[path.Peer] != path {
		return false
	}
	delete(p.holes, path.Peer)
	if passes < full {
		p.holes[path.Peer] = health.PathMTU{Peer: name, Full: full, Passes: passes}
	}
	return true
}

// blackHoles returns the ways on which large packets are lost, by name.
func (p *paths) blackHoles() []health.PathMTU {
	holes := make([]health.PathMTU, 0, len(p.holes))
	for _, h := range p.holes {
		holes = append(holes, h)
	}
	slices.SortFunc(holes, func(a, b health.PathMTU) int { return cmp.Compare(a.Peer, b.Peer) })
	return holes
}

// measuredMTU notes what passes on a way, and reports whether that is the present one.
func (e *Engine) measuredMTU(now time.Time, path Path, full, passes int) (current bool) {
	if e.gathered == nil || !e.paths.measured(path, e.gathered.name(path.Peer), full, passes) {
		return false
	}
	e.assess(now)
	return true
}

// MeasuredMTU notes that of packets of up to full bytes on a way, those of up to some size pass.
// It reports whether the way is still the one to the peer: otherwise nothing is noted.
func (l *Loop) MeasuredMTU(ctx context.Context, path Path, full, passes int) (current bool, err error) {
	return onLoop(ctx, l, func(context.Context) (bool, error) { return l.engine.measuredMTU(time.Now(), path, full, passes), nil })
}
