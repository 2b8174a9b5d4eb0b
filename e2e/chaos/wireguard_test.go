package chaos

import (
	"fmt"
	"path/filepath"
	"strconv"

	"github.com/spanmesh/span/e2e/internal/nodecmd"
)

// wireguardOf returns the IDs of the WireGuard processes of a machine. The kernel's WireGuard has none.
func (w *world) wireguardOf(n *node) (ids []int) {
	paths, err := nodecmd.ProcessesBeside(strconv.Itoa(n.beacon.pid), nodecmd.WireGuardCommand)
	w.fault(err)
	for _, path := range paths {
		id, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		w.fault(err)
		ids = append(ids, id)
	}
	return ids
}

// findWireguard looks for machines with more than one WireGuard process.
func (w *world) findWireguard() (problems []problem) {
	for _, n := range w.nodes {
		if ids := w.wireguardOf(n); len(ids) > 1 {
			problems = append(problems, problem{"processes", fmt.Sprintf("%s has the WireGuard processes %v", n.Name, ids)})
		}
	}
	return problems
}

// checkWireguard looks for WireGuard processes that have started again for no reason: that cuts all
// connections through the mesh for a while.
func (w *world) checkWireguard() {
	for _, n := range w.nodes {
		before, now := n.wireguard, 0
		if ids := w.wireguardOf(n); len(ids) > 0 {
			now = ids[0]
		}
		if w.quiet > 0 && !n.restarts && now != before {
			w.find("restart", "the WireGuard process of %s was %d, and is %d", n.Name, before, now)
		}
		n.wireguard, n.restarts = now, false
	}
}
