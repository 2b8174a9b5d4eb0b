package outside

import (
	"net/netip"
	"slices"

	"github.com/spanmesh/span/reconciler/mesh"
)

// answer is where a server has seen the port.
type answer struct{ server, seen netip.AddrPort }

// isOwn reports whether the port was seen as it is, without a NAT on the way.
func (q *Question) isOwn(seen netip.AddrPort) bool {
	return seen.Port() == q.Port && slices.Contains(q.Own, seen.Addr())
}

// judge returns what answers show; there is at least one. A server on this side of a NAT shows nothing
// about it. A NAT may give one port for all ports of a server and another for another server, so that it
// takes two addresses to show that it does not.
func (q *Question) judge(answers []answer) mesh.Mapping {
	beyond := slices.DeleteFunc(slices.Clone(answers), func(x answer) bool { return q.isOwn(x.seen) })
	if len(beyond) == 0 {
		return mesh.Mapping{Kind: mesh.NATNone, Address: answers[0].seen.Addr()}
	}
	first := beyond[0]
	m := mesh.Mapping{Address: first.seen.Addr(), Ports: []uint16{first.seen.Port()}}
	for _, x := range beyond[1:] {
		switch {
		case x.seen != first.seen:
			return mesh.Mapping{Kind: mesh.NATDependent, Address: first.seen.Addr()}
		case x.server.Addr() != first.server.Addr():
			m.Kind = mesh.NATIndependent
		}
	}
	return m
}
