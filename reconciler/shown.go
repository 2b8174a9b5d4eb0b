package reconciler

import (
	"cmp"
	"slices"
	"time"

	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/resource"
)

// shown is what the connections were published with.
type shown struct {
	specs []mesh.PeerSpec
	// at has the index of each peer in Engine.statuses, and endpoints what was published; zero for nothing.
	at        []int
	endpoints []resource.Endpoint
}

// publishStepped replaces the resources of the peers that the pass has stepped: those of the others are as
// they were.
func (e *Engine) publishStepped(now time.Time, p *Pass) {
	for _, i := range p.stepped {
		at := e.shown.at[i]
		id := e.statuses[at].ID
		status := p.peerStatus(now, &p.specs[i], &p.peers[i])
		if before, is := e.statuses[at].Spec.(resource.PeerStatus); !is || before != status {
			if e.shared {
				e.statuses, e.shared = slices.Clone(e.statuses), false
			}
			e.statuses[at] = e.store.Put(now, resource.PeerStatuses, id, status)
		}
		switch endpoint := p.endpoint(i); endpoint {
		case e.shown.endpoints[i]:
			continue
		case resource.Endpoint{}:
			e.store.Delete(resource.Endpoints, id)
		default:
			e.store.Put(now, resource.Endpoints, id, endpoint)
		}
		e.shown.endpoints[i] = p.endpoint(i)
	}
}

// showMembers makes room for the peers that have joined, and removes what is published of those that have left.
func (e *Engine) showMembers(p *Pass) {
	var gone []int
	for _, i := range p.patched.left {
		gone = append(gone, e.shown.at[i])
		id := p.patched.before[i].PublicKey.String()
		e.store.Delete(resource.PeerStatuses, id)
		e.store.Delete(resource.Endpoints, id)
	}
	slices.Sort(gone)
	var added []resource.Resource
	for _, i := range p.patched.joined {
		added = append(added, resource.Resource{ID: p.specs[i].PublicKey.String()})
	}
	slices.SortFunc(added, func(a, b resource.Resource) int { return cmp.Compare(a.ID, b.ID) })
	var places []int
	e.statuses, places = edit(nil, e.statuses, gone, added, func(a, b *resource.Resource) int { return cmp.Compare(a.ID, b.ID) })
	e.shared = false
	e.shown = e.shown.moved(p, gone, places)
	for place, status := range places {
		key, _ := mesh.ParseKey(added[place].ID)
		if i, found := p.specAt(key); found {
			e.shown.at[i] = status
		}
	}
}

// moved returns what was shown after statuses were removed at some indexes, and then added at others. Both are
// sorted.
func (s *shown) moved(p *Pass, gone, added []int) (next shown) {
	next = shown{specs: p.specs, at: make([]int, 0, len(p.specs)), endpoints: make([]resource.Endpoint, 0, len(p.specs))}
	left, joined := p.patched.left, p.patched.joined
	join := func() {
		for len(joined) > 0 && joined[0] == len(next.at) {
			next.at, next.endpoints, joined = append(next.at, 0), append(next.endpoints, resource.Endpoint{}), joined[1:]
		}
	}
	for i, at := range s.at {
		if len(left) > 0 && left[0] == i {
			left = left[1:]
			continue
		}
		join()
		before, _ := slices.BinarySearch(gone, at)
		at -= before
		for _, place := range added {
			if place <= at {
				at++
			}
		}
		next.at, next.endpoints = append(next.at, at), append(next.endpoints, s.endpoints[i])
	}
	join()
	return next
}
