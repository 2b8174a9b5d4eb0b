package netlinkapply_test

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/wgctrl"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/spanmesh/span/netlinkapply"
	"github.com/spanmesh/span/netlinkapply/netnstest"
	"github.com/spanmesh/span/netlinkapply/userspace"
	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/peer"
	"github.com/spanmesh/span/reconciler/planprint"
	"github.com/spanmesh/span/reconciler/state"
	"github.com/spanmesh/span/schema/load"
)

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == userspace.Command {
		if err := userspace.Main(os.Args[2], "/run/wireguard.log"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(netnstest.Main(m.Run))
}

func open(t testing.TB) *netlinkapply.Kernel {
	t.Helper()
	k, err := netlinkapply.Open(netlinkapply.Auto, func(ctx context.Context, link string) error {
		return userspace.Start(ctx, []string{"/proc/self/exe", userspace.Command, link})
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	return k
}

// inputs returns the inputs of a mesh of n peers with one IPv4 and one IPv6 network each.
func inputs(t testing.TB, n int) state.Inputs {
	t.Helper()
	private, err := mesh.NewPrivateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	identity, err := mesh.NewIdentity("self", private, "test", net.HardwareAddr{2, 0, 0, 0, 0, 1})
	if err != nil {
		t.Fatal(err)
	}
	config, err := load.Config("test.cue", []byte("machine: network: kubespan: enabled: false"))
	if err != nil {
		t.Fatal(err)
	}
	k := *config.KubeSpan()
	k.Enabled = true
	in := state.Inputs{Identity: identity, KubeSpan: k, MTU: 1420, PresharedKey: mesh.SecretKey([32]byte{1})}
	for i := range n {
		var key mesh.Key
		binary.BigEndian.PutUint32(key[:], uint32(i+1))
		v4 := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		v6 := netip.MustParseAddr("2001:db8::").As16()
		binary.BigEndian.PutUint32(v6[8:], uint32(i))
		in.Peers = append(in.Peers, mesh.PeerSpec{PublicKey: key, Label: fmt.Sprintf("peer-%d", i),
			AllowedIPs: []netip.Prefix{netip.PrefixFrom(v4, 32), netip.PrefixFrom(netip.AddrFrom16(v6), 96)}})
		endpoint := netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, 1}), uint16(1000+i))
		in.Connections = append(in.Connections, peer.Connection{Key: key, Action: peer.Action{Endpoint: endpoint}})
	}
	return in
}

// reach applies the difference to desired, checks that none is left, and returns the number of
// changes.
func reach(t *testing.T, k *netlinkapply.Kernel, desired state.State) int {
	t.Helper()
	// The test's own context has ended when cleanups call this.
	ctx := context.WithoutCancel(t.Context())
	plan := diff(t, k, desired)
	result := k.Apply(ctx, scopeOf(t), plan)
	if result.Err != nil {
		t.Fatalf("apply %s: %v", planprint.Describe(result.Failed), result.Err)
	}
	for i := range desired.Peers {
		desired.Peers[i].Redirect = false
	}
	if left := diff(t, k, desired); len(left) > 0 {
		t.Fatalf("still different after applying:\n%s", text(left))
	}
	return len(plan)
}

func diff(t *testing.T, k *netlinkapply.Kernel, desired state.State) state.Plan {
	t.Helper()
	live, err := k.Observe(scopeOf(t))
	if err != nil {
		t.Fatal(err)
	}
	return state.Diff(desired, live)
}

func scopeOf(t testing.TB) state.Scope {
	in := inputs(t, 0)
	return state.ScopeOf(&in.KubeSpan)
}

func text(p state.Plan) (s string) {
	for _, c := range p {
		s += planprint.Describe(c).String() + "\n"
	}
	return s
}

func TestApplyReachesTheDesiredState(t *testing.T) {
	k := open(t)
	in := inputs(t, 3)
	t.Cleanup(func() { reach(t, k, state.State{}) })
	reach(t, k, state.Build(in))

	t.Run("another MTU changes link, routes and table only", func(t *testing.T) {
		in.MTU = 1300
		if n := reach(t, k, state.Build(in)); n != 4 {
			t.Errorf("took %d changes, want link, two routes and the table", n)
		}
	})
	t.Run("another peer is one change of a peer and one of the networks", func(t *testing.T) {
		in := inputs(t, 4)
		in.Identity, in.MTU = mustIdentity(t, k), 1300
		if n := reach(t, k, state.Build(in)); n > 3 {
			t.Errorf("took %d changes", n)
		}
	})
	t.Run("one peer less", func(t *testing.T) {
		in := inputs(t, 2)
		in.Identity, in.MTU = mustIdentity(t, k), 1300
		reach(t, k, state.Build(in))
	})
}

// mustIdentity returns an identity with the private key of the link.
func mustIdentity(t *testing.T, k *netlinkapply.Kernel) mesh.Identity {
	t.Helper()
	live, err := k.Observe(scopeOf(t))
	if err != nil {
		t.Fatal(err)
	}
	identity, err := mesh.NewIdentity("self", live.Link.PrivateKey, "test", net.HardwareAddr{2, 0, 0, 0, 0, 1})
	if err != nil {
		t.Fatal(err)
	}
	return identity
}

func TestManyNetworksAreStored(t *testing.T) {
	k := open(t)
	desired := state.Build(inputs(t, 1600))
	t.Cleanup(func() { reach(t, k, state.State{}) })
	reach(t, k, desired)
	live, err := k.Observe(scopeOf(t))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(desired.Firewall.Networks, live.Firewall.Networks, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
		t.Errorf("networks (-want +got):\n%s", diff)
	}
}

// TestExternalChangesAreReverted makes one change at a time, as an operator or another program
// would.
func TestExternalChangesAreReverted(t *testing.T) {
	k := open(t)
	desired := state.Build(inputs(t, 3))
	t.Cleanup(func() { reach(t, k, state.State{}) })
	reach(t, k, desired)
	link, err := netlink.LinkByName("kubespan")
	if err != nil {
		t.Fatal(err)
	}
	table := &nftables.Table{Name: state.TableName("kubespan"), Family: nftables.TableFamilyINet}
	for name, change := range map[string]func() error{
		"the address is deleted": func() error {
			addresses, err := netlink.AddrList(link, netlink.FAMILY_V6)
			if err != nil {
				return err
			}
			for _, a := range addresses {
				if a.IP.IsGlobalUnicast() {
					return netlink.AddrDel(link, &a)
				}
			}
			return fmt.Errorf("no address among %v", addresses)
		},
		"an address is added":  func() error { return netlink.AddrAdd(link, mustAddr("198.51.100.1/24")) },
		"the link is set down": func() error { return netlink.LinkSetDown(link) },
		"the MTU is changed":   func() error { return netlink.LinkSetMTU(link, 1500) },
		"a route is deleted": func() error {
			routes, err := netlink.RouteListFiltered(unix.AF_INET, &netlink.Route{Table: ourTable}, netlink.RT_FILTER_TABLE)
			if err != nil || len(routes) != 2 {
				return fmt.Errorf("%d routes, %w", len(routes), err)
			}
			return netlink.RouteDel(&routes[0])
		},
		"a rule is deleted": func() error {
			rules, err := netlink.RuleList(unix.AF_INET6)
			if err != nil {
				return err
			}
			for _, r := range rules {
				if r.Priority == ourPriority {
					return netlink.RuleDel(&r)
				}
			}
			return fmt.Errorf("no rule of spanctl among %v", rules)
		},
		"the table is deleted": func() error {
			conn, err := nftables.New()
			if err != nil {
				return err
			}
			conn.DelTable(table)
			return conn.Flush()
		},
		"the table is flushed": func() error {
			conn, err := nftables.New()
			if err != nil {
				return err
			}
			conn.FlushTable(table)
			return conn.Flush()
		},
		"a set is flushed": func() error {
			conn, err := nftables.New()
			if err != nil {
				return err
			}
			conn.FlushSet(&nftables.Set{Table: table, Name: "routed4", KeyType: nftables.TypeIPAddr, Interval: true})
			return conn.Flush()
		},
		"a chain is added": func() error {
			conn, err := nftables.New()
			if err != nil {
				return err
			}
			conn.AddChain(&nftables.Chain{Table: table, Name: "mine"})
			return conn.Flush()
		},
		"a rule has other expressions": func() error {
			conn, err := nftables.New()
			if err != nil {
				return err
			}
			rules, err := conn.GetRules(table, &nftables.Chain{Table: table, Name: "kubespan_outgoing"})
			if err != nil {
				return err
			}
			rules[0].Exprs = []expr.Any{&expr.Verdict{Kind: expr.VerdictAccept}}
			conn.ReplaceRule(rules[0])
			return conn.Flush()
		},
		"a peer is removed": func() error {
			return configure(wgtypes.Config{Peers: []wgtypes.PeerConfig{{PublicKey: wgtypes.Key(desired.Peers[1].PublicKey), Remove: true}}})
		},
		"a peer is added": func() error {
			return configure(wgtypes.Config{Peers: []wgtypes.PeerConfig{{PublicKey: wgtypes.Key{31: 9}}}})
		},
		"a peer's networks are cleared": func() error {
			return configure(wgtypes.Config{Peers: []wgtypes.PeerConfig{{PublicKey: wgtypes.Key(desired.Peers[0].PublicKey), ReplaceAllowedIPs: true}}})
		},
		"the private key is changed": func() error {
			key, err := wgtypes.GeneratePrivateKey()
			if err != nil {
				return err
			}
			return configure(wgtypes.Config{PrivateKey: &key})
		},
	} {
		t.Run(name, func(t *testing.T) {
			if err := change(); err != nil {
				t.Fatal(err)
			}
			if len(diff(t, k, desired)) == 0 {
				t.Fatal("the change was not seen")
			}
			reach(t, k, desired)
		})
	}
}

func configure(config wgtypes.Config) error {
	client, err := wgctrl.New()
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	return client.ConfigureDevice("kubespan", config)
}

func mustAddr(text string) *netlink.Addr {
	a, err := netlink.ParseAddr(text)
	if err != nil {
		panic(err)
	}
	return a
}

// The routing table and rule priority of the tests' config.
const (
	ourTable    = 180
	ourPriority = 32500
)

// TestForeignObjectsStay makes objects of another program beside each of the mesh's, then makes and
// removes the mesh.
func TestForeignObjectsStay(t *testing.T) {
	k := open(t)
	dummy := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "foreign0"}}
	if err := netlink.LinkAdd(dummy); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = netlink.LinkDel(dummy) })
	if err := netlink.LinkSetUp(dummy); err != nil {
		t.Fatal(err)
	}
	if err := netlink.AddrAdd(dummy, mustAddr("198.51.100.1/24")); err != nil {
		t.Fatal(err)
	}
	route := &netlink.Route{LinkIndex: dummy.Attrs().Index, Table: ourTable, Dst: mustAddr("203.0.113.0/24").IPNet, Protocol: unix.RTPROT_STATIC}
	if err := netlink.RouteAdd(route); err != nil {
		t.Fatal(err)
	}
	rule := netlink.NewRule()
	rule.Family, rule.Priority, rule.Table, rule.Mark = unix.AF_INET, ourPriority, 77, 0x1000
	if err := netlink.RuleAdd(rule); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = netlink.RuleDel(rule) })
	marked, bit := netlink.NewRule(), uint32(0x40)
	marked.Family, marked.Priority, marked.Table, marked.Mark, marked.Mask = unix.AF_INET, 32760, 77, bit, &bit
	if err := netlink.RuleAdd(marked); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = netlink.RuleDel(marked) })
	conn, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	foreign := conn.AddTable(&nftables.Table{Name: "foreign", Family: nftables.TableFamilyINet})
	conn.AddChain(&nftables.Chain{Table: foreign, Name: "c"})
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}

	live, err := k.Observe(scopeOf(t))
	if err != nil {
		t.Fatal(err)
	}
	var seen []string
	for _, c := range live.Conditions {
		seen = append(seen, fmt.Sprintf("%s: %s", c.Code, c.Cause))
	}
	want := []string{"TableTaken: routing table 180 has routes of another program, such as that to 203.0.113.0/24",
		"RulePriorityTaken: an ipv4 rule of another program has the priority 32500",
		"MarkShared: the ipv4 rule with priority 32760 matches the mark 0x40/0x40, which shares bits with spanctl's 0x60"}
	if diff := cmp.Diff(want, seen); diff != "" {
		t.Errorf("conditions (-want +got):\n%s", diff)
	}
	if live.Owned() {
		t.Errorf("objects of other programs count as spanctl's: %+v", live)
	}
	reach(t, k, state.Build(inputs(t, 3)))
	reach(t, k, state.State{})

	if routes, err := netlink.RouteListFiltered(unix.AF_INET, &netlink.Route{Table: ourTable}, netlink.RT_FILTER_TABLE); err != nil || len(routes) != 1 {
		t.Errorf("routes in our table: %v, %v", routes, err)
	}
	rules, err := netlink.RuleList(unix.AF_INET)
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, r := range rules {
		found = found || r.Priority == ourPriority && r.Table == 77
	}
	if !found {
		t.Errorf("the foreign rule is gone: %v", rules)
	}
	if tables, err := conn.ListTables(); err != nil || len(tables) != 1 || tables[0].Name != "foreign" {
		t.Errorf("tables: %v, %v", tables, err)
	}
}

func TestForeignLinkIsRefused(t *testing.T) {
	k := open(t)
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "kubespan"}}
	if err := netlink.LinkAdd(bridge); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = netlink.LinkDel(bridge) })
	_, err := k.Observe(scopeOf(t))
	if failed := (*condition.Error)(nil); !errors.As(err, &failed) || failed.Code != condition.LinkNameTaken {
		t.Errorf("a bridge that has the name of the mesh's link: the error is %v", err)
	}
}

func TestRemovalLeavesNothing(t *testing.T) {
	k := open(t)
	reach(t, k, state.Build(inputs(t, 3)))
	reach(t, k, state.State{})
	if _, err := netlink.LinkByName("kubespan"); err == nil {
		t.Error("the link is still there")
	}
	if left, _ := filepath.Glob("/var/run/wireguard/*"); len(left) > 0 {
		t.Errorf("control sockets are left: %v", left)
	}
}

// TestPartialPlansAreCompleted stops a plan after every step, as a failure does, and expects the
// next plan to do the rest.
func TestPartialPlansAreCompleted(t *testing.T) {
	k := open(t)
	in := inputs(t, 3)
	mesh := state.Build(in)
	in.MTU, in.KubeSpan.ListenPort, in.KubeSpan.FirewallMark = 1300, 51999, 0x100
	in.Peers = in.Peers[1:]
	in.KubeSpan.PersistentKeepalive = 0
	changed := state.Build(in)
	for _, c := range []struct {
		name     string
		from, to state.State
	}{
		{"made", state.State{}, mesh},
		{"changed", mesh, changed},
		{"removed", changed, state.State{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			reach(t, k, c.from)
			steps := len(diff(t, k, c.to))
			for n := range steps {
				reach(t, k, c.from)
				plan := diff(t, k, c.to)
				if r := k.Apply(t.Context(), scopeOf(t), plan[:n]); r.Err != nil {
					t.Fatalf("the first %d of %d: %v", n, len(plan), r.Err)
				}
				reach(t, k, c.to)
			}
			if steps < 5 {
				t.Errorf("only %d steps", steps)
			}
		})
	}
	reach(t, k, state.State{})
}

// TestStrictReversePathIsLoosened has a setting of the administrator that drops packets from the
// tunnel.
func TestStrictReversePathIsLoosened(t *testing.T) {
	k := open(t)
	desired := state.Build(inputs(t, 1))
	reach(t, k, desired)
	t.Cleanup(func() { reach(t, k, state.State{}) })
	const all = "/proc/sys/net/ipv4/conf/all/rp_filter"
	before, err := os.ReadFile(all)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(all, []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.WriteFile(all, before, 0) })
	// Of the two settings, the greater counts.
	if err := os.WriteFile("/proc/sys/net/ipv4/conf/kubespan/rp_filter", []byte("0"), 0); err != nil {
		t.Fatal(err)
	}
	if plan := text(diff(t, k, desired)); plan != "~ sysctl net.ipv4.conf.kubespan.rp_filter: value 2 (loose)\n" {
		t.Errorf("the plan is %q", plan)
	}
	reach(t, k, desired)
}

// TestPortInUseChangesNothing uses the new listen port itself. The link must keep the old one.
func TestPortInUseChangesNothing(t *testing.T) {
	k := open(t)
	in := inputs(t, 1)
	t.Cleanup(func() { reach(t, k, state.State{}) })
	reach(t, k, state.Build(in))
	taken := listenUDP(t)
	in.KubeSpan.ListenPort = int(taken.port.Port())
	in.Connections = nil
	plan := diff(t, k, state.Build(in))
	result := k.Apply(t.Context(), scopeOf(t), plan)
	if result.Err == nil || !errors.Is(result.Err, unix.EADDRINUSE) || !strings.Contains(result.Err.Error(), "set machine.network.kubespan.listenPort") {
		t.Errorf("the error is %v", result.Err)
	}
	if len(result.Done) != 0 || len(result.NotDone) != len(plan) || result.Failed == nil {
		t.Errorf("the result is %+v", result)
	}
	live, err := k.Observe(scopeOf(t))
	if err != nil || live.Link.ListenPort != 51820 {
		t.Errorf("the link listens on %d, %v", live.Link.ListenPort, err)
	}
}
