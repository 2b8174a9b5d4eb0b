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
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/wgctrl"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/spanmesh/span/netlinkapply"
	"github.com/spanmesh/span/netlinkapply/netnstest"
	"github.com/spanmesh/span/netlinkapply/userspace"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/peer"
	"github.com/spanmesh/span/reconciler/planprint"
	"github.com/spanmesh/span/reconciler/state"
	"github.com/spanmesh/span/schema/load"
)

// wireguardChild is the argument by which the test binary runs the userspace WireGuard process.
const wireguardChild = "-wireguard-for="

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && len(os.Args[1]) > len(wireguardChild) && os.Args[1][:len(wireguardChild)] == wireguardChild {
		if err := userspace.Main(os.Args[1][len(wireguardChild):], "/run/wireguard.log"); err != nil {
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
		return userspace.Start(ctx, []string{"/proc/self/exe", wireguardChild + link})
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
	config, err := load.Config("test.cue", []byte("machine: {}"))
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
	table := &nftables.Table{Name: state.TableName, Family: nftables.TableFamilyINet}
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
			if err != nil || len(routes) != 1 {
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
	var conflicts []string
	for _, c := range live.Conflicts {
		conflicts = append(conflicts, c.What)
	}
	want := []string{"routing table 180 has routes of another program, such as that to 203.0.113.0/24",
		"an ipv4 rule of another program has the priority 32500"}
	if diff := cmp.Diff(want, conflicts); diff != "" || live.Owned() {
		t.Errorf("conflicts (-want +got):\n%s", diff)
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
	if _, err := k.Observe(scopeOf(t)); err == nil {
		t.Error("a bridge that has the name of the mesh's link was accepted")
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

func TestHostHasReachableAddresses(t *testing.T) {
	k := open(t)
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "up0"}, PeerName: "up1"}
	if err := netlink.LinkAdd(veth); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = netlink.LinkDel(veth) })
	inner := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "docker0"}}
	if err := netlink.LinkAdd(inner); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = netlink.LinkDel(inner) })
	for link, address := range map[netlink.Link]string{veth: "192.0.2.7/24", inner: "172.17.0.1/16"} {
		if err := netlink.AddrAdd(link, mustAddr(address)); err != nil {
			t.Fatal(err)
		}
		if err := netlink.LinkSetUp(link); err != nil {
			t.Fatal(err)
		}
	}
	if err := netlink.AddrAdd(veth, mustAddr("192.0.2.8/24")); err != nil {
		t.Fatal(err)
	}
	host, err := k.Host("kubespan")
	if err != nil {
		t.Fatal(err)
	}
	if want := []netip.Addr{netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("192.0.2.8")}; !cmp.Equal(want, host.Addresses, cmpopts.EquateComparable(netip.Addr{})) {
		t.Errorf("addresses are %v, want %v", host.Addresses, want)
	}
	links := []mesh.Link{{Name: "up0", MTU: 1500, Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("192.0.2.0/24")}}}
	if diff := cmp.Diff(links, host.Links, cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{})); diff != "" {
		t.Errorf("links (-want +got):\n%s", diff)
	}
	if host.MAC != nil {
		t.Errorf("a namespace without a network card has the MAC %v", host.MAC)
	}
}

// TestHostOmitsLinksOverTheMesh has a VXLAN over the mesh's link. It also has a veth whose other
// end has the index of the mesh's link, in another namespace.
func TestHostOmitsLinksOverTheMesh(t *testing.T) {
	k := open(t)
	outside := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "up0"}, PeerName: "far0"}
	if err := netlink.LinkAdd(outside); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = netlink.LinkDel(outside) })
	end, err := netlink.LinkByName("far0")
	if err != nil {
		t.Fatal(err)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	here, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	far, err := netns.New()
	if err == nil {
		err = netns.Set(here)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = errors.Join(far.Close(), here.Close()) })
	if err := netlink.LinkSetNsFd(end, int(far)); err != nil {
		t.Fatal(err)
	}
	inMesh := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "kubespan", Index: end.Attrs().Index}, PeerName: "mesh1"}
	if err := netlink.LinkAdd(inMesh); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = netlink.LinkDel(inMesh) })
	overlay := &netlink.Vxlan{LinkAttrs: netlink.LinkAttrs{Name: "flannel.1"}, VxlanId: 1, VtepDevIndex: end.Attrs().Index, Port: 8472}
	if err := netlink.LinkAdd(overlay); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = netlink.LinkDel(overlay) })
	for link, address := range map[netlink.Link]string{outside: "192.0.2.7/24", overlay: "10.42.0.0/32"} {
		if err := netlink.AddrAdd(link, mustAddr(address)); err != nil {
			t.Fatal(err)
		}
	}
	host, err := k.Host("kubespan")
	if err != nil {
		t.Fatal(err)
	}
	if want := []netip.Addr{netip.MustParseAddr("192.0.2.7")}; !slices.Equal(want, host.Addresses) {
		t.Errorf("addresses are %v, want %v", host.Addresses, want)
	}
}

// TestWatch changes spanctl's table until the watch reports it, since the watch may join its
// groups after the first changes. Then it changes objects of another program.
func TestWatch(t *testing.T) {
	scope := scopeOf(t)
	scope.FirewallTable = "watched"
	ctx, cancel := context.WithCancel(t.Context())
	changed := make(chan struct{}, 1)
	done := make(chan error, 1)
	go func() {
		done <- netlinkapply.Watch(ctx, func() state.Scope { return scope }, func() {
			select {
			case changed <- struct{}{}:
			default:
			}
		}, func(time.Duration) {})
	}()
	conn, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	touch := func(name string) {
		t.Helper()
		table := &nftables.Table{Name: name, Family: nftables.TableFamilyINet}
		conn.AddTable(table)
		conn.DelTable(table)
		if err := conn.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	deadline := time.After(10 * time.Second)
	for seen := false; !seen; {
		touch("watched")
		select {
		case <-changed:
			seen = true
		case <-deadline:
			t.Fatal("the watch reports nothing")
		case <-time.After(10 * time.Millisecond):
		}
	}
	drain := func() {
		for range 10 {
			select {
			case <-changed:
			case <-time.After(5 * time.Millisecond):
			}
		}
	}
	drain()
	touch("another")
	select {
	case <-changed:
		t.Error("the watch reports another program's table")
	case <-time.After(50 * time.Millisecond):
	}
	route := &netlink.Route{LinkIndex: 1, Table: 77, Dst: mustAddr("203.0.113.0/24").IPNet}
	if err := netlink.RouteAdd(route); err != nil {
		t.Fatal(err)
	}
	select {
	case <-changed:
		t.Error("the watch reports a route in another table")
	case <-time.After(50 * time.Millisecond):
	}
	route.Table = ourTable
	if err := netlink.RouteAdd(route); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = netlink.RouteDel(route) })
	select {
	case <-changed:
	case <-deadline:
		t.Error("the watch does not report a route in spanctl's table")
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
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

// TestPeerWithManyNetworks has a peer that takes several messages, as a relay may.
func TestPeerWithManyNetworks(t *testing.T) {
	k := open(t)
	in := inputs(t, 3)
	in.Peers[1].AllowedIPs = nil
	for i := range 3000 {
		in.Peers[1].AllowedIPs = append(in.Peers[1].AllowedIPs, netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 16, byte(i >> 7), byte(i << 1)}), 32))
	}
	reach(t, k, state.Build(in))
	t.Cleanup(func() { reach(t, k, state.State{}) })
	peers, err := k.Peers(scopeOf(t))
	if err != nil || len(peers) != 3 || len(peers[1].AllowedIPs) != 3000 || len(peers[2].AllowedIPs) != 2 {
		t.Errorf("%d peers, %v", len(peers), err)
	}
	in.Peers[1].AllowedIPs = in.Peers[1].AllowedIPs[:1]
	reach(t, k, state.Build(in))
}

// TestProbesGoIntoTheTunnel probes addresses of peers. WireGuard must then begin a handshake with
// each of these peers.
func TestProbesGoIntoTheTunnel(t *testing.T) {
	k := open(t)
	in := inputs(t, 2)
	in.KubeSpan.PersistentKeepalive = 0
	for i := range in.Connections {
		in.Connections[i].Action.Endpoint = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 9)
	}
	reach(t, k, state.Build(in))
	t.Cleanup(func() { reach(t, k, state.State{}) })
	contacted := func() (n int) {
		t.Helper()
		peers, err := k.Peers(scopeOf(t))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range peers {
			if p.TransmitBytes > 0 {
				n++
			}
		}
		return n
	}
	if n := contacted(); n != 0 {
		t.Fatalf("WireGuard has sent to %d peers before the probes", n)
	}
	addresses := []netip.Addr{in.Peers[0].AllowedIPs[0].Addr(), in.Peers[1].AllowedIPs[1].Addr().Next()}
	if err := k.Probe(t.Context(), scopeOf(t), addresses); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); contacted() < 2; {
		if time.Now().After(deadline) {
			t.Fatalf("WireGuard has sent to %d peers", contacted())
		}
	}
	if err := k.ClearSources(scopeOf(t)); err != nil {
		t.Error(err)
	}
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

// udp is the socket of a peer.
type udp struct {
	net.PacketConn
	port netip.AddrPort
}

func listenUDP(t *testing.T) udp {
	t.Helper()
	conn, err := new(net.ListenConfig).ListenPacket(t.Context(), "udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return udp{conn, conn.LocalAddr().(*net.UDPAddr).AddrPort()}
}

// receives reports whether a packet arrives within d.
func (u udp) receives(t *testing.T, d time.Duration) bool {
	t.Helper()
	if err := u.SetReadDeadline(time.Now().Add(d)); err != nil {
		t.Fatal(err)
	}
	_, _, err := u.ReadFrom(make([]byte, 2048))
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	return err == nil
}

// TestPeerWithoutKeepaliveIsNotContacted creates a peer with a keepalive and one without together.
// WireGuard sends to the first only, until the second has a keepalive too.
func TestPeerWithoutKeepaliveIsNotContacted(t *testing.T) {
	k := open(t)
	in := inputs(t, 2)
	t.Cleanup(func() { reach(t, k, state.State{}) })
	active, deferred := listenUDP(t), listenUDP(t)
	in.Connections[0].Action.Endpoint, in.Connections[1].Action.Endpoint = active.port, deferred.port
	in.Connections[1].Status.InitiateAfter = time.Now()
	desired := state.Build(in)
	reach(t, k, desired)
	if !active.receives(t, 10*time.Second) {
		t.Error("the peer with a keepalive was not contacted")
	}
	if deferred.receives(t, 500*time.Millisecond) {
		t.Error("the peer without a keepalive was contacted")
	}
	in.Connections[1].Status.InitiateAfter = time.Time{}
	reach(t, k, state.Build(in))
	if !deferred.receives(t, 10*time.Second) {
		t.Error("the peer was not contacted when its keepalive was turned on")
	}
}

// TestNewEndpointIsContactedAtOnce changes the endpoint of a peer. WireGuard by itself would wait
// until it has something to send.
func TestNewEndpointIsContactedAtOnce(t *testing.T) {
	k := open(t)
	in := inputs(t, 1)
	t.Cleanup(func() { reach(t, k, state.State{}) })
	first, second := listenUDP(t), listenUDP(t)
	in.Connections[0].Action.Endpoint = first.port
	reach(t, k, state.Build(in))
	if !first.receives(t, 10*time.Second) {
		t.Fatal("the first endpoint was not contacted")
	}
	in.Connections[0].Action.Endpoint = second.port
	reach(t, k, state.Build(in))
	if !second.receives(t, 10*time.Second) {
		t.Error("the second endpoint was not contacted")
	}
}
