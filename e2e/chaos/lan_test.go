package chaos

import (
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/spanmesh/span/e2e/internal/nodecmd"
	"github.com/spanmesh/span/e2e/lab"
)

// goingOn bounds how long the machines of a LAN that is cut off take to reach each other: two that shake
// hands at the same moment may stall.
const goingOn = 30 * time.Second

// lanActions are those on whole networks, and on the links to them.
var lanActions = map[string]action{
	"cut-lan": {weight: 3, do: (*world).cutLAN},
	"rename-underlay": {weight: 2, do: func(w *world, n *node, _ int) {
		w.rename(n, lab.Link, nodecmd.RenamedLink)
		w.onHeal(uncovered, "name of the link of "+n.Name, func() { w.rename(n, nodecmd.RenamedLink, lab.Link) })
	}},
}

// cutLAN cuts two or three machines off from the others, with one of the servers, or none. Where nothing
// else is wrong, the machines on either side go on to reach each other.
func (w *world) cutLAN(n *node, argument int) {
	first := slices.Index(w.nodes, n)
	var inside, outside []*node
	var parted []*lab.Node
	for i := range w.nodes {
		other := w.nodes[(first+i)%len(w.nodes)]
		if i >= 2+argument%2 {
			outside = append(outside, other)
			continue
		}
		inside = append(inside, other)
		if other == w.nodes[machines-1] {
			parted = append(parted, w.router.Node)
		} else {
			parted = append(parted, other.Node)
		}
	}
	if server := argument / 2 % (len(w.servers) + 1); server < len(w.servers) {
		parted = append(parted, w.servers[server].machine.Node)
	}
	w.fault(w.mesh.Part(parted...))
	w.onHeal(uncovered, "the cut LAN", func() { w.fault(w.mesh.Rejoin()) })
	if w.faults == 0 {
		w.goOn(inside)
		w.goOn(outside)
	}
}

// goOn has machines reach each other.
func (w *world) goOn(nodes []*node) {
	var group errgroup.Group
	missing := make([][]string, len(nodes))
	for i, n := range nodes {
		var to []netip.Addr
		for _, other := range nodes {
			if other != n {
				to = append(to, other.Address)
			}
		}
		group.Go(func() (err error) {
			missing[i], err = n.beacon.reach(goingOn, to)
			return err
		})
	}
	w.fault(group.Wait())
	for i, n := range nodes {
		if len(missing[i]) > 0 {
			w.find("inside", "%s does not reach %v on its side of the cut", n.Name, missing[i])
		}
	}
}

// rename gives a machine's link to its network another name. It may lose the default route by that.
func (w *world) rename(n *node, from, to string) {
	if _, ok := w.try(n.Machine, "rename-link", from, to); ok {
		w.try(n.Machine, "default-route", n.gateway.String())
	}
}
