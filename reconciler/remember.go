package reconciler

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/peer"
	"github.com/spanmesh/span/reconciler/resource"
	"github.com/spanmesh/span/reconciler/state"
)

// remember keeps the statuses for the next pass and tells what is news. A peer
// whose change did not reach the kernel keeps its old status, so that the next
// pass decides again.
func (e *Engine) remember(now time.Time, p *Pass) {
	for _, c := range p.Result.NotDone {
		if changed, ok := c.Object.(state.Peer); ok && c.Action != state.Delete {
			if before, known := e.statuses[changed.PublicKey]; known {
				p.statuses[changed.PublicKey] = before
			} else {
				delete(p.statuses, changed.PublicKey)
			}
		}
	}
	e.tellPeers(now, p)
	for id, reason := range p.refused {
		if e.refused[id] != reason {
			e.log.Warn("an affiliate is refused", "affiliate", id, "reason", reason)
			e.events.Record(now, resource.Warning, "AffiliateRefused", id, reason)
		}
	}
	if !slices.Equal(e.overlaps, p.overlaps) {
		e.tellOverlaps(now, p)
	}
	e.statuses, e.via, e.overlaps, e.refused = p.statuses, p.via, p.overlaps, p.refused
	e.saveLastGood(p)
}

func (e *Engine) tellPeers(now time.Time, p *Pass) {
	for i := range p.specs {
		spec := &p.specs[i]
		before, after := e.statuses[spec.PublicKey], p.statuses[spec.PublicKey]
		if before.State != after.State {
			e.logState(spec, after)
		}
		if was, is := e.via[spec.PublicKey], p.via[spec.PublicKey]; was != is {
			message := "its traffic goes directly again"
			if is.IsZero() {
				e.log.Info("peer reached directly", "peer", spec.Label, "key", spec.PublicKey.String())
			} else {
				message = "cannot be reached; its traffic goes through the relay " + p.label(is)
				e.log.Info("peer relayed", "peer", spec.Label, "key", spec.PublicKey.String(), "relay", p.label(is))
			}
			e.events.Record(now, resource.Normal, "PeerRelayed", nameOf(spec), message)
		}
	}
}

// logState logs the new state of a peer. An endpoint on trial is the agent's daily
// work; the state that the trial leads to is what an operator wants to see.
func (e *Engine) logState(spec *mesh.PeerSpec, s peer.Status) {
	attrs := []any{"peer", spec.Label, "key", spec.PublicKey.String(), "endpoint", s.Endpoint.String()}
	switch s.State {
	case peer.Up:
		e.log.Info("peer up", attrs...)
	case peer.Down:
		e.log.Info("peer down", attrs...)
	case peer.Unknown:
		e.log.Debug("peer endpoint on trial", attrs...)
	}
}

// nameOf is what people know a peer by.
func nameOf(spec *mesh.PeerSpec) string {
	if spec.Label != "" {
		return spec.Label
	}
	return spec.PublicKey.String()
}

// label is the name of the peer with a key.
func (p *Pass) label(key mesh.Key) string {
	i, found := slices.BinarySearchFunc(p.specs, key, func(s mesh.PeerSpec, k mesh.Key) int { return s.PublicKey.Compare(k) })
	if !found {
		return key.String()
	}
	return nameOf(&p.specs[i])
}

func (e *Engine) tellOverlaps(now time.Time, p *Pass) {
	for _, o := range p.overlaps {
		if slices.Contains(e.overlaps, o) {
			continue
		}
		e.log.Warn("two peers claim the same addresses; the one whose key sorts first has them",
			"from", o.From.String(), "kept_by", o.Winner.String(), "refused_to", o.Loser.String())
		e.events.Record(now, resource.Warning, "AddressesOverlap", p.label(o.Loser),
			"claims addresses from "+o.From.String()+" that belong to "+p.label(o.Winner))
	}
}

// saveLastGood notes where peers are reached.
func (e *Engine) saveLastGood(p *Pass) {
	changed := false
	byNode := make(map[string]netip.AddrPort, len(p.specs))
	for i := range p.specs {
		spec := &p.specs[i]
		k := spec.PublicKey
		if s := p.statuses[k]; isUp(s) && s.Endpoint.IsValid() && e.LastGood[k] != s.Endpoint {
			e.LastGood[k], changed = s.Endpoint, true
		}
		if endpoint, known := e.LastGood[k]; known {
			byNode[spec.NodeID] = endpoint
		}
	}
	if len(p.specs) > 0 {
		e.byNode = byNode
	}
	if len(e.LastGood) > 2*len(p.specs)+forgotten {
		maps.DeleteFunc(e.LastGood, func(k mesh.Key, _ netip.AddrPort) bool { _, still := p.statuses[k]; return !still })
		changed = true
	}
	if changed && e.SaveLastGood != nil {
		e.SaveLastGood(maps.Clone(e.LastGood))
	}
}

// forgotten is how many peers that left are remembered at least.
const forgotten = 64

// warn tells once of what others have where ours is, and of what does not fit.
func (e *Engine) warn(now time.Time, p *Pass, addresses []netip.Prefix, live state.State) {
	conflicts := append(slices.Clip(live.Conflicts), contested(addresses, p.host.Links)...)
	if p.mtu > p.room {
		conflicts = append(conflicts, state.Conflict{
			What:   fmt.Sprintf("the MTU of %d is more than the %d that the links to the peers leave room for", p.mtu, p.room),
			Remedy: `set machine.network.kubespan.mtu to "auto"`,
		})
	}
	warned := make(map[string]bool, len(conflicts))
	for _, c := range conflicts {
		warned[c.What] = true
		if !e.warned[c.What] {
			e.log.Warn(c.What, "remedy", c.Remedy)
			e.events.Record(now, resource.Warning, "Conflict", "kernel", c.What+": "+c.Remedy)
		}
	}
	e.warned = warned
}

// contested are the config's addresses whose network a link of the machine has, too.
func contested(addresses []netip.Prefix, links []mesh.Link) []state.Conflict {
	var conflicts []state.Conflict
	for _, a := range addresses {
		for _, l := range links {
			if !a.IsSingleIP() && slices.ContainsFunc(l.Networks, a.Overlaps) {
				conflicts = append(conflicts, state.Conflict{
					What:   fmt.Sprintf("the network of the address %s in the mesh is that of the link %s, too", a, l.Name),
					Remedy: "let machine.network.kubespan.addresses be of a network that is nowhere else",
				})
			}
		}
	}
	return conflicts
}
