package trouble

import (
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/e2e/internal/harness"
)

// kernelFaults are those of the kernel, and of other programs that use it.
var kernelFaults = []Fault{
	{"IPv6Disabled", "IPv6 is off", []string{"by settings that are read-only", "in the kernel"}, func(s *Scene) Sign {
		DisableIPv6(s.t, s.On)
		text := "disable_ipv6"
		if s.Variant == "in the kernel" {
			s.On.Exec.Nodecmd("hide-ipv6")
			text = "this kernel runs without IPv6"
		} else {
			s.On.Exec.Nodecmd("read-only-settings")
		}
		s.startAll()
		return s.sign(s.On, 2, "", text)
	}},
	{"PortTaken", "another program has the port", []string{first, later}, func(s *Scene) Sign {
		if s.Variant == first {
			s.On.Exec.StartNodecmd("listen", "51820")
			s.startAll()
			return s.sign(s.On, 2, anySubject, "UDP port 51820 is in use by another program: ", "listenPort")
		}
		s.up()
		s.On.Exec.StartNodecmd("listen", "51999")
		s.edit(s.On, "listenPort: 51999")
		return s.sign(s.On, 2, anySubject, "UDP port 51999 is in use by another program: ", "listenPort")
	}},
	{"PassFailing", "the kernel does not make the link", []string{first}, func(s *Scene) Sign {
		s.On.Exec.Nodecmd("cover", "/dev/net", "64")
		s.startAll()
		return s.sign(s.On, 2, "", "+ link kubespan")
	}},
	{"RoutesShadowed", "a rule of another program is in front", []string{first, later}, func(s *Scene) Sign {
		if s.Variant == later {
			s.up()
		}
		s.On.Exec.Nodecmd("shadow")
		s.startAll()
		return s.sign(s.On, 2, anySubject, "leave by eth0", "rulePriority below 100")
	}},
	{"MarkShared", "a rule of another program tests our mark", []string{first, later}, func(s *Scene) Sign {
		if s.Variant == later {
			s.up()
		}
		mask := one[uint32](s, 0x20, 0x40, 0x60, 0xff)
		s.fault(s.On.Netlink(func(h *netlink.Handle) error {
			rule := netlink.NewRule()
			rule.Family, rule.Priority, rule.Table, rule.Mark, rule.Mask = unix.AF_INET, 5000, 77, mask, &mask
			return h.RuleAdd(rule)
		}))
		s.startAll()
		return s.sign(s.On, 1, "ipv4 rule 5000", "shares bits with spanctl's", "fwmark")
	}},
	{"TableTaken", "another program uses the table", []string{first}, func(s *Scene) Sign {
		s.On.Exec.Nodecmd("occupy-table", "180")
		s.startAll()
		return s.sign(s.On, 2, anySubject, "180", "routingTable")
	}},
	{"RulePriorityTaken", "another program uses the priority", []string{first}, func(s *Scene) Sign {
		s.On.Exec.Nodecmd("occupy-priority", "32500")
		s.startAll()
		return s.sign(s.On, 2, anySubject, "32500", "rulePriority")
	}},
	{"LinkNameTaken", "another program uses the name of the link", []string{first, later}, func(s *Scene) Sign {
		if s.Variant == first {
			s.On.Exec.Nodecmd("occupy-name", "kubespan")
			s.startAll()
			return s.sign(s.On, 2, anySubject, "kubespan", "interfaceName")
		}
		s.up()
		s.On.Exec.Nodecmd("occupy-name", "wg7")
		s.edit(s.On, `interfaceName: "wg7"`)
		return s.sign(s.On, 2, anySubject, "wg7", "interfaceName")
	}},
	{"RepeatedRepairs", "another program deletes our table again and again", []string{later}, func(s *Scene) Sign {
		s.up()
		s.On.Exec.StartNodecmd("delete-tables")
		return s.sign(s.On, 2, anySubject, "another program changes it again and again")
	}},
	{"PlanNotConverging", "another program reverts each change at once", []string{later}, func(s *Scene) Sign {
		s.up()
		s.On.Exec.StartNodecmd("revert-mtu")
		sign := s.sign(s.On, 2, anySubject, "a change was made twice", "ip monitor")
		sign.Besides = []string{"RepeatedRepairs"} // of the same object
		return sign
	}},
	{"WireGuardUnresponsive", "the WireGuard process hangs", []string{later}, func(s *Scene) Sign {
		s.up()
		s.On.Exec.StartNodecmd("keep-stopped")
		sign := s.sign(s.On, 2, anySubject, "does not answer")
		sign.Besides = []string{"PeerDown", "UDPBlocked", "PeerUnreachable"}
		return sign
	}},
	{"MTUTooLarge", "the MTU is too large", []string{"1450", "1500"}, func(s *Scene) Sign {
		s.edit(s.On, "mtu: "+s.Variant)
		s.startAll()
		return s.sign(s.On, 1, "", "the MTU of "+s.Variant+" is more than the 1420", `"auto"`)
	}},
	{"MeshAddressOnLink", "an address of the config is in a link's network", []string{first, later}, func(s *Scene) Sign {
		if s.Variant == later {
			s.up()
		}
		s.On.Files.WriteConfig(harness.Edit(s.Config, `addresses: ["172.20.0.200/24"]`))
		s.startAll()
		return s.sign(s.On, 1, "172.20.0.200/24", "the link eth0")
	}},
}
