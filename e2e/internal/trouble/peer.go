package trouble

import (
	"fmt"
	"strings"

	"github.com/spanmesh/span/e2e/internal/harness"
)

// peerFaults are those of the ways between machines.
var peerFaults = []Fault{
	{"UDPBlocked", "UDP is blocked here", []string{"in", "reject", "out", "in and out", "in, " + later, "out, " + later, "in and out, " + later}, func(s *Scene) Sign {
		block := map[string][]string{"in": {"in"}, "reject": {"reject"}, "out": {"out"}, "in and out": {"in", "out"},
			"in, " + later: {"in"}, "out, " + later: {"out"}, "in and out, " + later: {"in", "out"}}[s.Variant]
		if strings.HasSuffix(s.Variant, later) {
			s.up()
		}
		for _, way := range block {
			BlockUDP(s.On, way)
		}
		s.startAll()
		return s.sign(s.On, 2, "", "2 peers")
	}},
	{"PeerUnreachable", "UDP is blocked at a peer", []string{"both ways", "between the two"}, func(s *Scene) Sign {
		if s.Variant == "both ways" {
			BlockUDP(s.On, "in")
			BlockUDP(s.On, "out")
		} else {
			BlockUDP(s.On, "in", s.Other)
			BlockUDP(s.Other, "in", s.On)
		}
		s.startAll()
		return s.sign(s.Other, 1, s.On.Name, "endpoint", "nothing came; others answer", "open UDP 51820 at "+s.On.Name)
	}},
	{"OneWayTraffic", "a peer does not hear us", []string{"in", "reject", "from here alone"}, func(s *Scene) Sign {
		if s.Variant == "from here alone" {
			BlockUDP(s.On, "in", s.Other)
		} else {
			BlockUDP(s.On, s.Variant)
		}
		s.startAll()
		return s.sign(s.Other, 1, s.On.Name, s.On.Name+" calls", "let the firewall of "+s.On.Name)
	}},
	{"PeerDown", "a peer was up and is down", []string{"it has lost its power", "its network is gone", "its firewall drops all", "its agent was killed, and its link is gone"}, func(s *Scene) Sign {
		s.up()
		switch s.Variant {
		case "it has lost its power":
			CutPower(s.On)
		case "its network is gone":
			s.On.Net.SetLink(false)
		case "its firewall drops all":
			BlockUDP(s.On, "in")
			BlockUDP(s.On, "out")
		default:
			s.On.Agent.Kill()
			s.On.Exec.Nodecmd("delete-link")
		}
		return s.sign(s.Other, 1, s.On.Name, "silent since ", "check that "+s.On.Name+" runs")
	}},
	{"TunnelFiltered", "the firewall here drops packets into the mesh", []string{first, later}, func(s *Scene) Sign {
		if s.Variant == later {
			s.up()
		}
		s.On.Exec.Nodecmd("drop-into-mesh")
		s.startAll()
		return s.sign(s.On, 1, "", "before they enter kubespan", "let its output chains pass")
	}},
	{"MTUBlackHole", "large packets to a peer are lost", []string{"1460", "1400", "1352"}, func(s *Scene) Sign {
		s.On.Exec.Nodecmd("drop-large", s.Variant)
		s.startAll()
		return s.sign(s.Other, 1, s.On.Name, fmt.Sprintf("1420 bytes to %s are lost, 1", s.On.Name), "mtu: 1")
	}},
	{"Relayed", "a peer is reached through a relay", []string{first, later}, func(s *Scene) Sign {
		SetForwarding(s.t, s.Third, true, true)
		s.Third.Files.WriteConfig(harness.Edit(s.Config, "relay: forwarding: offer: true"))
		s.edit(s.On, "relay: forwarding: use: true")
		s.edit(s.Other, "relay: forwarding: use: true")
		if s.Variant == later {
			s.up()
		}
		BlockUDP(s.On, "in", s.Other)
		BlockUDP(s.Other, "in", s.On)
		s.startAll()
		return s.sign(s.On, 0, s.Other.Name, "its traffic goes through "+s.Third.Name)
	}},
}
