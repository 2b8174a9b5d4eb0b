package netlinkapply_test

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"go4.org/netipx"
	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/netlinkapply"
	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/state"
)

// cidr returns a network for a rule or a route.
func cidr(text string) *net.IPNet { return netipx.PrefixIPNet(netip.MustParsePrefix(text)) }

// TestRulesThatComeFirst has rules of other programs before those of spanctl. The peers have
// 10.0.0.0/32 and 2001:db8::/96, and the machine has 192.0.2.7.
func TestRulesThatComeFirst(t *testing.T) {
	k := open(t)
	eth0 := wayOut(t)
	in := inputs(t, 1)
	t.Cleanup(func() { reach(t, k, state.State{}) })
	desired := state.Build(in)
	reach(t, k, desired)
	for _, route := range []*netlink.Route{
		{Table: 101, Dst: cidr("10.0.0.0/8"), LinkIndex: eth0.Index},
		{Table: 101, Dst: cidr("::/0"), LinkIndex: eth0.Index},
		{Table: 102, Dst: cidr("203.0.113.0/24"), LinkIndex: eth0.Index},
		{Table: 103, Dst: cidr("0.0.0.0/0"), Type: unix.RTN_UNREACHABLE},
	} {
		if err := netlink.RouteAdd(route); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = netlink.RouteDel(route) })
	}
	full, none := uint32(0xffffffff), uint32(0xff)
	for _, c := range []struct {
		name   string
		change func(*netlink.Rule)
		// want is what the causes say; empty for no condition.
		want []string
	}{
		{"by source, of the machine", func(r *netlink.Rule) { r.Src, r.Table = cidr("192.0.2.7/32"), 101 },
			[]string{`packets to 10.0.0.0 from 192.0.2.7 leave by eth0, through table 101, and not through the mesh`, `100: from 192.0.2.7/32 lookup 101`}},
		{"by source, of nobody here", func(r *netlink.Rule) { r.Src, r.Table = cidr("198.51.100.0/24"), 101 }, nil},
		{"for all", func(r *netlink.Rule) { r.Table = 101 }, []string{"through table 101"}},
		{"for the mesh's subnet", func(r *netlink.Rule) { r.Family, r.Table = unix.AF_INET6, 101 }, []string{"packets to " + in.Identity.Subnet.Addr().Next().String()}},
		{"by destination", func(r *netlink.Rule) { r.Dst, r.Table = cidr("10.0.0.0/16"), 101 }, []string{"to 10.0.0.0/16"}},
		{"by another destination", func(r *netlink.Rule) { r.Dst, r.Table = cidr("203.0.113.0/24"), 101 }, nil},
		{"by user", func(r *netlink.Rule) { r.UIDRange, r.Table = netlink.NewRuleUIDRange(1000, 1001), 101 }, []string{"uidrange 1000-1001"}},
		{"from this machine", func(r *netlink.Rule) { r.IifName, r.Table = "lo", 101 }, []string{"iif lo"}},
		{"of the main table", func(r *netlink.Rule) { r.Table = unix.RT_TABLE_MAIN }, []string{"through table 254"}},
		{"of the main table without its default route", func(r *netlink.Rule) { r.Table, r.SuppressPrefixlen = unix.RT_TABLE_MAIN, 0 }, nil},
		{"by another mark", func(r *netlink.Rule) { r.Mark, r.Mask, r.Table = 51820, &full, 101 }, nil},
		{"not by another mark", func(r *netlink.Rule) { r.Mark, r.Mask, r.Invert, r.Table = 51820, &full, true, 101 }, []string{"not from all"}},
		{"by no mark", func(r *netlink.Rule) { r.Mark, r.Mask, r.Table = 0, &none, 101 }, nil},
		{"with a table that has other routes", func(r *netlink.Rule) { r.Table = 102 }, nil},
		{"that jumps over ours", func(r *netlink.Rule) { r.Goto = 32766 }, []string{"goto 32766"}},
		{"that drops", func(r *netlink.Rule) { r.Type = unix.RTN_PROHIBIT }, []string{"are refused"}},
		{"that drops TCP", func(r *netlink.Rule) { r.IPProto, r.Type = unix.IPPROTO_TCP, unix.RTN_PROHIBIT },
			[]string{"TCP packets to 10.0.0.0 are refused", "100: from all ipproto tcp refuse"}},
		{"that drops TCP over IPv6", func(r *netlink.Rule) {
			r.Family, r.IPProto, r.Type = unix.AF_INET6, unix.IPPROTO_TCP, unix.RTN_PROHIBIT
		}, []string{"TCP packets to " + in.Identity.Subnet.Addr().Next().String() + " are refused"}},
		{"for UDP", func(r *netlink.Rule) { r.IPProto, r.Table = unix.IPPROTO_UDP, 101 }, []string{"UDP packets to 10.0.0.0 leave by eth0, through table 101"}},
		{"for ICMP", func(r *netlink.Rule) { r.IPProto, r.Table = unix.IPPROTO_ICMP, 101 }, []string{"ICMP packets to 10.0.0.0 leave by eth0"}},
		{"that drops SCTP", func(r *netlink.Rule) { r.IPProto, r.Type = unix.IPPROTO_SCTP, unix.RTN_PROHIBIT }, []string{"132 packets to 10.0.0.0 are refused"}},
		{"for all but TCP", func(r *netlink.Rule) { r.IPProto, r.Invert, r.Table = unix.IPPROTO_TCP, true, 101 }, []string{"not from all ipproto tcp lookup 101"}},
		{"for all but UDP", func(r *netlink.Rule) { r.IPProto, r.Invert, r.Table = unix.IPPROTO_UDP, true, 101 }, []string{"not from all ipproto udp lookup 101"}},
		{"by port", func(r *netlink.Rule) { r.Dport, r.Table = netlink.NewRulePortRange(443, 443), 101 }, []string{"TCP packets to 10.0.0.0 leave by eth0", "dport 443 lookup 101"}},
		{"by source port", func(r *netlink.Rule) {
			r.IPProto, r.Sport, r.Type = unix.IPPROTO_UDP, netlink.NewRulePortRange(5000, 5010), unix.RTN_PROHIBIT
		}, []string{"UDP packets to 10.0.0.0 are refused", "sport 5000-5010 refuse"}},
		{"by type of service", func(r *netlink.Rule) { r.Tos, r.Table = 0x10, 101 }, []string{"tos 0x10 lookup 101"}},
		{"that drops what has no mark yet", func(r *netlink.Rule) { r.Mark, r.Mask, r.Type = 0, &none, unix.RTN_PROHIBIT }, []string{"fwmark 0x0/0xff refuse"}},
		{"by protocol, with a table that has other routes", func(r *netlink.Rule) { r.IPProto, r.Table = unix.IPPROTO_TCP, 102 }, nil},
		{"by outgoing link", func(r *netlink.Rule) { r.OifName, r.Table = "eth0", 101 }, nil},
		{"to one address of a network", func(r *netlink.Rule) { r.Family, r.Dst, r.Table = unix.AF_INET6, cidr("2001:db8::7/128"), 101 },
			[]string{"packets to 2001:db8::7 leave by eth0"}},
		{"to one mesh address", func(r *netlink.Rule) {
			r.Family, r.Type = unix.AF_INET6, unix.RTN_PROHIBIT
			r.Dst = cidr(in.Identity.Subnet.Addr().Next().Next().String() + "/128")
		}, []string{"packets to " + in.Identity.Subnet.Addr().Next().Next().String() + " are refused"}},
		{"with a table that drops", func(r *netlink.Rule) { r.Table = 103 }, []string{"are refused"}},
	} {
		t.Run("a rule "+c.name, func(t *testing.T) {
			rule := netlink.NewRule()
			rule.Family, rule.Priority = unix.AF_INET, 100
			c.change(rule)
			if err := netlink.RuleAdd(rule); err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := netlink.RuleDel(rule); err != nil {
					t.Fatal(err)
				}
			}()
			causes := shadowed(t, k, desired)
			if len(c.want) == 0 && causes == "" {
				return
			}
			if missing := slices.DeleteFunc(c.want, func(w string) bool { return strings.Contains(causes, w) }); len(missing) > 0 || causes == "" || len(c.want) == 0 && causes != "" {
				t.Errorf("the causes are %q, without %q", causes, missing)
			}
		})
	}
	if causes := shadowed(t, k, desired); causes != "" {
		t.Errorf("without rules: %s", causes)
	}
}

// TestManyRulesHideNone has one rule that matters behind thousands that do not.
func TestManyRulesHideNone(t *testing.T) {
	k := open(t)
	wayOut(t)
	in := inputs(t, 1)
	t.Cleanup(func() { reach(t, k, state.State{}) })
	desired := state.Build(in)
	reach(t, k, desired)
	scope := scopeOf(t)
	harmless := func(i int) state.ForeignRule {
		from := netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}), 32)
		return state.ForeignRule{Family: state.IPv4, Priority: 10 + i, From: from, Table: 102}
	}
	for _, n := range []int{16, 64, 3000} {
		var ahead []state.ForeignRule
		for i := range n {
			ahead = append(ahead, harmless(i))
		}
		ahead = append(ahead, state.ForeignRule{Family: state.IPv4, Priority: 10 + n, Protocol: unix.IPPROTO_TCP, Refuses: true})
		rule := netlink.NewRule()
		rule.Family, rule.Priority, rule.IPProto, rule.Type = unix.AF_INET, 10+n, unix.IPPROTO_TCP, unix.RTN_PROHIBIT
		if err := netlink.RuleAdd(rule); err != nil {
			t.Fatal(err)
		}
		var before []state.Path
		turns := 1 + n/1024
		for turn := range 2 * turns {
			paths := state.Paths(scope, &desired, ahead, nil, before, turn*1024)
			if len(paths) > 1100 {
				t.Errorf("%d rules: %d questions at once", n, len(paths))
			}
			var found []condition.Condition
			found, before = state.Shadowed(scope, ahead, paths, k.Trace(paths))
			if turn >= turns && len(found) != 1 {
				t.Errorf("%d rules, turn %d: found %v", n, turn, found)
			}
		}
		if err := netlink.RuleDel(rule); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRuleForForwardedPackets has a rule for the packets that come from a link.
func TestRuleForForwardedPackets(t *testing.T) {
	k := open(t)
	eth0 := wayOut(t)
	lan := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "lan0"}, PeerName: "lan1"}
	if err := netlink.LinkAdd(lan); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = netlink.LinkDel(lan) })
	end, err := netlink.LinkByName("lan1")
	if err == nil {
		err = errors.Join(netlink.AddrAdd(lan, mustAddr("198.51.100.1/24")), netlink.LinkSetUp(lan), netlink.LinkSetUp(end))
	}
	if err != nil {
		t.Fatal(err)
	}
	setForwarding(t)
	t.Cleanup(func() { reach(t, k, state.State{}) })
	desired := state.Build(inputs(t, 1))
	reach(t, k, desired)
	route := &netlink.Route{Table: 101, Dst: cidr("10.0.0.0/8"), LinkIndex: eth0.Index}
	if err := netlink.RouteAdd(route); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*netlink.Rule){
		"by link":   func(r *netlink.Rule) { r.IifName = "lan0" },
		"by source": func(r *netlink.Rule) { r.Src = cidr("198.51.100.0/24") },
		"of others": func(r *netlink.Rule) { r.Src = cidr("198.51.100.128/25") },
	} {
		t.Run(name, func(t *testing.T) {
			rule := netlink.NewRule()
			rule.Family, rule.Priority, rule.Table = unix.AF_INET, 100, 101
			change(rule)
			if err := netlink.RuleAdd(rule); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = netlink.RuleDel(rule) }()
			if causes := shadowed(t, k, desired); !strings.Contains(causes, "leave by eth0") {
				t.Errorf("the causes are %q", causes)
			}
		})
	}
}

// shadowed returns the causes of the conditions about rules of other programs.
func shadowed(t *testing.T, k *netlinkapply.Kernel, desired state.State) string {
	t.Helper()
	scope := scopeOf(t)
	live, err := k.Observe(scope)
	if err != nil {
		t.Fatal(err)
	}
	own := []netip.Addr{netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("2001:db8:1::7")}
	paths := state.Paths(scope, &desired, live.Ahead, own, nil, 0)
	conditions, _ := state.Shadowed(scope, live.Ahead, paths, k.Trace(paths))
	var causes []string
	for _, c := range conditions {
		causes = append(causes, c.String())
	}
	return strings.Join(causes, "\n")
}

func setForwarding(t *testing.T) {
	t.Helper()
	const setting = "/proc/sys/net/ipv4/ip_forward"
	if err := os.WriteFile(setting, []byte("1"), 0o644); err != nil {
		t.Skipf("forwarding cannot be turned on: %v", err)
	}
	t.Cleanup(func() { _ = os.WriteFile(setting, []byte("0"), 0o644) })
}
