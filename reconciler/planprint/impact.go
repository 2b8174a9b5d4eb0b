package planprint

import (
	"cmp"
	"fmt"
	"net/netip"
	"strings"

	"github.com/spanmesh/span/reconciler/state"
)

// Impact returns a line for each interruption of traffic.
func Impact(interruptions []state.Interruption) []string {
	var lines []string
	for _, i := range interruptions {
		lines = append(lines, interruption(i))
	}
	return lines
}

// interruption says what traffic is interrupted, and why.
func interruption(i state.Interruption) string {
	switch c := i.Change.(type) {
	case state.LinkChange:
		return linkInterruption(i.Cause, c)
	case state.PeerChange:
		return peerInterruption(i, c)
	case state.AddressChange:
		return fmt.Sprintf("connections from and to %s: the address is removed", c.Old.Addr())
	case state.RouteChange:
		return fmt.Sprintf("traffic to %s through the mesh: the route is removed", c.Old.Destination)
	case state.RuleChange:
		if c.Old.To.IsValid() {
			return fmt.Sprintf("traffic to %s through the mesh: the rule is removed", c.Old.To)
		}
		return fmt.Sprintf("all %s traffic through the mesh: the rule is removed", c.Old.Family)
	case state.FirewallChange:
		return fmt.Sprintf("all traffic through the mesh: the nftables table %s is removed", c.Old.Table)
	default:
		return fmt.Sprintf("%s: %s", Describe(c).Object(), i.Cause)
	}
}

func linkInterruption(cause state.Cause, c state.LinkChange) string {
	switch cause {
	case state.LinkReplaced:
		return fmt.Sprintf("all tunnels until their next handshake: link %s is replaced", c.Old.Name)
	case state.LinkRemoved:
		return fmt.Sprintf("all traffic through the mesh: link %s is removed", c.Old.Name)
	case state.PrivateKeyChanged:
		return "all tunnels until the peers have the new public key: the private key changes"
	default:
		return "all tunnels for a moment: peers learn the new listen port from the next packet"
	}
}

func peerInterruption(i state.Interruption, c state.PeerChange) string {
	peer := pick(c.Action() == state.Delete, c.Old, c.New)
	name := cmp.Or(peer.Label, peer.PublicKey.String())
	switch i.Cause {
	case state.PeerRemoved:
		return fmt.Sprintf("all traffic with peer %s: the peer is removed", name)
	case state.PresharedKeyChanged:
		return fmt.Sprintf("all traffic with peer %s until it has the same preshared key", name)
	default:
		// All of them, however many: this is what the user has to decide on.
		return fmt.Sprintf("traffic with %s through peer %s", joined(i.Networks), name)
	}
}

// joined lists networks.
func joined(networks []netip.Prefix) string {
	list := make([]string, len(networks))
	for i, network := range networks {
		list[i] = network.String()
	}
	return strings.Join(list, ", ")
}
