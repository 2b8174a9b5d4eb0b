package health

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spanmesh/span/reconciler/condition"
)

// judgePackets finds the conditions of peers that come and go, or to which packets are lost.
func judgePackets(now time.Time, peers *Peers) (found []condition.Condition) {
	if len(peers.Filtered) > 0 {
		found = append(found, filtered(peers))
	}
	for i := range peers.Notable {
		p := &peers.Notable[i]
		if c, flaps := flapping(now, p); flaps && (p.Up || !p.calls(now)) {
			found = append(found, c)
		}
		if p.Up && p.Lossy && len(peers.Filtered) == 0 {
			found = append(found, lossy(p))
		}
	}
	return found
}

// lossy returns the condition of a peer on whose path packets are lost.
func lossy(p *Peer) condition.Condition {
	const step = 10 // percent: the text stays the same for longer
	return condition.Condition{Code: condition.PacketLoss, Subject: p.Name,
		Cause:  fmt.Sprintf("%d%% or more of the echoes to %s have no answer", p.Loss/step*step, p.Name),
		Remedy: fmt.Sprintf("look for loss between the endpoint of %s and this machine: a full or bad link, or a firewall or router that limits UDP", p.Name)}
}

// filtered returns the condition of a machine whose firewall keeps packets out of the mesh.
func filtered(peers *Peers) condition.Condition {
	names := slices.Sorted(slices.Values(peers.Filtered))
	to := fmt.Sprintf("%d peers", len(names))
	if len(names) <= listedNames {
		to = strings.Join(names, " and ")
	}
	return condition.Condition{Code: condition.TunnelFiltered,
		Cause:  fmt.Sprintf("this machine's firewall drops the echoes to %s before they enter %s", to, peers.Link),
		Remedy: fmt.Sprintf("let its output chains pass what leaves by %s: look for %s and for drop in `nft list ruleset`", peers.Link, peers.Link)}
}
