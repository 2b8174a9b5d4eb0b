package state_test

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/peer"
	"github.com/spanmesh/span/reconciler/planprint"
	"github.com/spanmesh/span/reconciler/state"
	"github.com/spanmesh/span/schema"
)

// inputs returns the inputs of a machine with n peers, each with an IPv4 address, an IPv4 network
// and its address in the mesh.
func inputs(tb testing.TB, n int) state.Inputs {
	tb.Helper()
	id, err := mesh.NewIdentity("self", mesh.SecretKey([32]byte{1}), "cluster", net.HardwareAddr{2, 0, 0, 0, 0, 0xff})
	if err != nil {
		tb.Fatal(err)
	}
	in := state.Inputs{
		Identity:     id,
		KubeSpan:     schema.KubeSpan{Enabled: true, ListenPort: 51820, InterfaceName: "kubespan", RoutingTable: 180, RulePriority: 32500, FirewallMark: 0x20, PersistentKeepalive: 25},
		MTU:          1420,
		PresharedKey: mesh.SecretKey([32]byte{2}),
	}
	for i := range n {
		var key mesh.Key
		binary.BigEndian.PutUint32(key[:], uint32(i+1))
		address := id.Subnet.Addr().As16()
		binary.BigEndian.PutUint32(address[12:], uint32(i+1))
		v4 := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		pods := netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64 + byte(i>>12), byte(i >> 4), byte(i << 4)}), 28)
		in.Peers = append(in.Peers, mesh.PeerSpec{PublicKey: key, Label: fmt.Sprintf("peer-%d", i), Address: netip.AddrFrom16(address),
			AllowedIPs: []netip.Prefix{netip.PrefixFrom(v4, 32), pods, netip.PrefixFrom(netip.AddrFrom16(address), 128)}})
		in.Connections = append(in.Connections, peer.Connection{Key: key, Action: peer.Action{Endpoint: netip.AddrPortFrom(v4, 51820)}})
	}
	return in
}

// made returns a state as it is read from the kernel after it was applied.
func made(s state.State) state.State {
	s.Peers = slices.Clone(s.Peers)
	for i := range s.Peers {
		s.Peers[i].Redirect, s.Peers[i].Label = false, ""
		s.Peers[i].LastHandshake, s.Peers[i].ReceiveBytes = time.Unix(1, 0), 9
	}
	return s
}

// lines returns the lines of a plan's text.
func lines(p state.Plan) []string {
	var b strings.Builder
	if err := planprint.Write(&b, p); err != nil {
		panic(err) // not reached: a builder takes everything
	}
	return strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
}

// TestPlanOrder has the whole plans that make and remove a mesh, in the order in which they are
// carried out.
func TestPlanOrder(t *testing.T) {
	desired := state.Build(inputs(t, 1))
	public := mesh.SecretKey([32]byte{1}).Public()
	subnet := strings.TrimSuffix(mesh.Subnet("cluster").Addr().String(), "::")
	want := []string{
		"+ link kubespan: mtu 1420, privateKey (hidden, public " + public.String() + "), listenPort 51820, firewallMark 0x20, up true",
		"+ peer AAAAAQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= (peer-0): presharedKey (hidden), keepalive 25s, " +
			"allowedIPs 10.0.0.0/32 100.64.0.0/28 " + subnet + "::1/128, endpoint 10.0.0.0:51820",
		"+ address 169.254.0.8/32",
		"+ address " + subnet + ":0:ff:fe00:ff/64",
		"+ route 0.0.0.0/0 table 180: link kubespan, mtu 1420",
		"+ route unreachable 0.0.0.0/0 table 180",
		"+ route ::/0 table 180: link kubespan, mtu 1420",
		"+ route unreachable ::/0 table 180",
		"+ route local " + subnet + ":0:ff:fe00:ff/128 table 180: link kubespan",
		"+ rule ipv4 32500: mark 0x40/0x60, table 180",
		"+ rule ipv6 32500 to " + subnet + "::/64: table 180",
		"+ rule ipv6 32500: mark 0x40/0x60, table 180",
		"+ nftables inet spanctl-kubespan: chains 4, guard spanguard-kubespan, networks 10.0.0.0/32 100.64.0.0/28",
	}
	if diff := cmp.Diff(want, lines(state.Diff(desired, state.State{}))); diff != "" {
		t.Errorf("create (-want +got):\n%s", diff)
	}
	want = []string{
		"- nftables inet spanctl-kubespan",
		"- rule ipv4 32500",
		"- rule ipv6 32500 to " + subnet + "::/64",
		"- rule ipv6 32500",
		"- route 0.0.0.0/0 table 180",
		"- route unreachable 0.0.0.0/0 table 180",
		"- route ::/0 table 180",
		"- route unreachable ::/0 table 180",
		"- route local " + subnet + ":0:ff:fe00:ff/128 table 180",
		"- link kubespan",
	}
	if diff := cmp.Diff(want, lines(state.Diff(state.State{}, made(desired)))); diff != "" {
		t.Errorf("remove (-want +got):\n%s", diff)
	}
	if plan := state.Diff(desired, made(desired)); len(plan) != 0 {
		t.Errorf("again:\n%v", lines(plan))
	}
}

// TestDiff has one difference per case, in the live state or in the desired one.
func TestDiff(t *testing.T) {
	key := func(n byte) string { return mesh.Key{3: n}.String() }
	second := func(s *state.State) *state.Peer { return &s.Peers[1] }
	foreign := mesh.Key{0: 9}
	for _, c := range []struct {
		name          string
		desired, live func(*state.State)
		want          []string
	}{
		{"nothing", nil, nil, nil},
		{"a counter", nil, func(s *state.State) { second(s).ReceiveBytes += 5 }, nil},
		{"an endpoint that roamed", nil, func(s *state.State) { second(s).Endpoint = netip.MustParseAddrPort("198.51.100.1:1") }, nil},
		{"an endpoint to set", func(s *state.State) {
			second(s).Endpoint, second(s).Redirect = netip.MustParseAddrPort("198.51.100.1:1"), true
		}, nil, []string{"~ peer " + key(2) + " (peer-1): endpoint 10.0.0.1:51820 -> 198.51.100.1:1"}},
		{"an endpoint that is missing", nil, func(s *state.State) { second(s).Endpoint = netip.AddrPort{} },
			[]string{"~ peer " + key(2) + " (peer-1): endpoint 10.0.0.1:51820"}},
		{"a peer that is missing", nil, func(s *state.State) { s.Peers = s.Peers[:2] },
			[]string{"+ peer " + key(3) + " (peer-2): presharedKey (hidden), keepalive 25s, allowedIPs 10.0.0.2/32 100.64.0.32/28 " +
				netip.PrefixFrom(address(3), 128).String() + ", endpoint 10.0.0.2:51820"}},
		{"an unknown peer", nil, func(s *state.State) { s.Peers = append(s.Peers, state.Peer{PublicKey: foreign}) },
			[]string{"- peer " + foreign.String()}},
		{"another preshared key", nil, func(s *state.State) { second(s).PresharedKey = mesh.SecretKey([32]byte{7}) },
			[]string{"~ peer " + key(2) + " (peer-1): presharedKey (hidden) -> (hidden)"}},
		{"networks that moved from one peer to another", func(s *state.State) {
			s.Peers[0].AllowedIPs, s.Peers[2].AllowedIPs = s.Peers[0].AllowedIPs[:2], append(slices.Clone(s.Peers[2].AllowedIPs), s.Peers[0].AllowedIPs[2])
		}, nil, []string{
			"~ peer " + key(1) + " (peer-0): allowedIPs 10.0.0.0/32 100.64.0.0/28 " + netip.PrefixFrom(address(1), 128).String() + " -> 10.0.0.0/32 100.64.0.0/28",
			"~ peer " + key(3) + " (peer-2): allowedIPs 10.0.0.2/32 100.64.0.32/28 " + netip.PrefixFrom(address(3), 128).String() + " -> 10.0.0.2/32 100.64.0.32/28 " +
				netip.PrefixFrom(address(3), 128).String() + " " + netip.PrefixFrom(address(1), 128).String()}},
		{"the MTU", func(s *state.State) { s.Link.MTU = 1400 }, nil, []string{"~ link kubespan: mtu 1420 -> 1400"}},
		{"another private key", nil, func(s *state.State) { s.Link.PrivateKey = mesh.SecretKey([32]byte{16}) },
			[]string{"~ link kubespan: privateKey (hidden, public " + mesh.SecretKey([32]byte{16}).Public().String() + ") -> (hidden, public " +
				mesh.SecretKey([32]byte{1}).Public().String() + ")"}},
		{"the link is down", nil, func(s *state.State) { s.Link.Up = false }, []string{"~ link kubespan: up false -> true"}},
		{"another address", nil, func(s *state.State) { s.Addresses = append(s.Addresses, netip.MustParsePrefix("10.9.9.9/24")) },
			[]string{"- address 10.9.9.9/24"}},
		{"a route over another link", nil, func(s *state.State) { s.Routes[0].Link = "eth0" },
			[]string{"~ route 0.0.0.0/0 table 180: link eth0 -> kubespan"}},
		{"another route", nil, func(s *state.State) {
			s.Routes = append(s.Routes, state.Route{Family: state.IPv4, Destination: netip.MustParsePrefix("10.0.0.0/8"), Table: 180})
		}, []string{"- route 10.0.0.0/8 table 180"}},
		{"a rule with another mark", nil, func(s *state.State) { s.Rules[0].Mark = 0x60 },
			[]string{"+ rule ipv4 32500: mark 0x40/0x60, table 180", "- rule ipv4 32500"}},
		{"a mesh of a version without the subnet's rule", nil, func(s *state.State) {
			s.Rules = slices.DeleteFunc(s.Rules, func(r state.Rule) bool { return r.To.IsValid() })
			s.Routes = slices.DeleteFunc(s.Routes, func(r state.Route) bool { return r.Type != state.Unicast })
		}, []string{
			"+ route unreachable 0.0.0.0/0 table 180", "+ route unreachable ::/0 table 180",
			"+ route local " + inputs(t, 0).Identity.Address.String() + " table 180: link kubespan",
			"+ rule ipv6 32500 to " + mesh.Subnet("cluster").String() + ": table 180",
		}},
		{"one network added and one removed", func(s *state.State) { s.Firewall.Networks[2] = netip.MustParsePrefix("10.0.0.9/32") }, nil,
			[]string{"~ nftables inet spanctl-kubespan: networks added 10.0.0.9/32, networks removed 10.0.0.2/32"}},
		{"a chain that is missing", nil, func(s *state.State) {
			s.Firewall.Chains = slices.DeleteFunc(slices.Clone(s.Firewall.Chains), func(c state.Chain) bool { return c.Name == "kubespan_prerouting" })
		},
			[]string{"~ nftables inet spanctl-kubespan: kubespan_prerouting type filter hook prerouting priority 0, " +
				"kubespan_prerouting rules [note inside 0x40/0x60 kubespan ipv4 any] [note inside 0x40/0x60 kubespan ipv6 " + mesh.Subnet("cluster").String() + "] " +
				"[moved outside 0x20/0x60 kubespan ipv4] [note outside 0x20/0x60 kubespan ipv4 tcp] [note outside 0x20/0x60 kubespan ipv4 icmp] " +
				"[note wireguard 0x20/0x60 51820 kubespan ipv4] [moved outside 0x20/0x60 kubespan ipv6] [note outside 0x20/0x60 kubespan ipv6 tcp] and 8 more"}},
		{"the table of a version that counted nothing", nil, func(s *state.State) {
			s.Firewall.Chains = slices.DeleteFunc(slices.Clone(s.Firewall.Chains), func(c state.Chain) bool {
				return c.Name == state.ArrivedChain || c.Name == state.AcceptedChain
			})
		},
			[]string{"~ nftables inet spanctl-kubespan: kubespan_accepted type filter hook input priority 2147483647, kubespan_accepted rules [count reflections 51820], " +
				"kubespan_arrived type filter hook prerouting priority -2147483648, kubespan_arrived rules [count reflections 51820]"}},
		{"a chain of someone else in our table", nil, func(s *state.State) {
			s.Firewall.Chains = append(slices.Clone(s.Firewall.Chains), state.Chain{Name: "mine", Statements: []state.Statement{{Op: state.Foreign, Text: "x"}}})
		}, []string{"~ nftables inet spanctl-kubespan: mine type none hook none priority 0 removed"}},
		{"a network that the guard lacks", nil, func(s *state.State) {
			s.Firewall.Guard.Networks = slices.Delete(slices.Clone(s.Firewall.Networks), 2, 3)
		},
			[]string{"~ nftables inet spanguard-kubespan: networks added 10.0.0.2/32"}},
		{"the guard is missing", nil, func(s *state.State) { s.Firewall.Guard = state.Guard{} },
			[]string{"~ nftables inet spanctl-kubespan: guard spanguard-kubespan, " +
				"kubespan_arriving type filter hook prerouting priority -300, kubespan_arriving rules [drop forged kubespan " + mesh.Subnet("cluster").String() + "], " +
				"kubespan_forwarded type filter hook forward priority 2147483647, kubespan_forwarded rules " +
				"[accept link kubespan] [follow outside 0x20/0x60 tcp] [follow outside 0x20/0x60 icmp] [follow outside 0x20/0x60 icmpv6] " +
				"[drop marked in clear 0x20/0x60 ipv4] [drop marked in clear 0x20/0x60 ipv6] [drop in clear ipv4] [drop in clear ipv6] and 1 more, " +
				"kubespan_guard type filter hook postrouting priority -300, kubespan_guard rules " +
				"[accept link kubespan] [accept wireguard 0x20/0x60 51820] [accept agent 0x20/0x60] [accept loopback] [accept neighbour discovery] " +
				"[follow outside 0x20/0x60 tcp] [follow outside 0x20/0x60 icmp] [follow outside 0x20/0x60 icmpv6] and 5 more"}},
		{"the table of an earlier version", nil, func(s *state.State) { s.Firewall.Former = []string{"spanctl"} },
			[]string{"~ nftables inet spanctl-kubespan: former table spanctl removed"}},
		{"the table is missing", nil, func(s *state.State) { s.Firewall = state.Firewall{} },
			[]string{"+ nftables inet spanctl-kubespan: chains 4, guard spanguard-kubespan, networks 10.0.0.0/32 10.0.0.1/32 10.0.0.2/32 100.64.0.0/28 100.64.0.16/28 100.64.0.32/28"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			build := func(change func(*state.State)) state.State {
				s := state.Build(inputs(t, 3))
				s = made(s)
				for i := range s.Peers {
					s.Peers[i].Label = fmt.Sprintf("peer-%d", i)
				}
				if change != nil {
					change(&s)
				}
				return s
			}
			plan := state.Diff(build(c.desired), build(c.live))
			if len(c.want) == 0 && len(plan) == 0 {
				return
			}
			if diff := cmp.Diff(c.want, lines(plan)); diff != "" {
				t.Errorf("plan (-want +got):\n%s", diff)
			}
		})
	}
}

// address returns the address of peer n in the mesh.
func address(n byte) netip.Addr {
	raw := mesh.Subnet("cluster").Addr().As16()
	raw[15] = n
	return netip.AddrFrom16(raw)
}

func TestBuild(t *testing.T) {
	t.Run("a disabled mesh is empty", func(t *testing.T) {
		in := inputs(t, 2)
		in.KubeSpan.Enabled = false
		if diff := cmp.Diff(state.State{}, state.Build(in), cmpopts.EquateComparable(mesh.PrivateKey{})); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("routing is forced also to peers that are down", func(t *testing.T) {
		if n := len(state.Build(inputs(t, 3)).Firewall.Networks); n != 6 {
			t.Errorf("%d networks are routed, want 6", n)
		}
	})
	t.Run("unless down peers are bypassed", func(t *testing.T) {
		in := inputs(t, 3)
		in.KubeSpan.AllowDownPeerBypass = true
		in.Connections[1].Status.State = peer.Up
		got := state.Build(in).Firewall.Networks
		if want := in.Peers[1].AllowedIPs[:2]; !slices.Equal(got, want) {
			t.Errorf("routed are %v, want %v", got, want)
		}
	})
	t.Run("a quiet peer has no keepalive", func(t *testing.T) {
		in := inputs(t, 2)
		in.Connections[1].Status.InitiateAfter = time.Unix(1, 0)
		s := state.Build(in)
		if s.Peers[0].Keepalive != 25*time.Second || s.Peers[1].Keepalive != 0 {
			t.Errorf("keepalives are %v and %v", s.Peers[0].Keepalive, s.Peers[1].Keepalive)
		}
	})
	t.Run("the segment size follows the MTU", func(t *testing.T) {
		in := inputs(t, 0)
		in.MTU = 1280
		for _, statement := range state.Build(in).Firewall.Chains[0].Statements {
			if want := map[state.Family]int{state.IPv4: 1240, state.IPv6: 1220}[statement.Family]; statement.Op == state.ClampMSS && statement.MSS != want {
				t.Errorf("%s: want %d", statement.Comment(), want)
			}
		}
	})
	t.Run("bypassed networks are not routed", func(t *testing.T) {
		in := inputs(t, 2)
		in.KubeSpan.Bypass = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("100.64.0.0/29")}
		got := state.Build(in).Firewall.Networks
		if want := []netip.Prefix{netip.MustParsePrefix("100.64.0.8/29"), netip.MustParsePrefix("100.64.0.16/28")}; !slices.Equal(got, want) {
			t.Errorf("routed are %v, want %v", got, want)
		}
	})
	t.Run("the traffic of a peer goes to its relay", func(t *testing.T) {
		in := inputs(t, 3)
		in.KubeSpan.AllowDownPeerBypass = true
		in.Connections[0].Relay = in.Peers[2].PublicKey
		s := state.Build(in)
		if len(s.Peers[0].AllowedIPs) != 0 || len(s.Peers[1].AllowedIPs) != 3 || len(s.Peers[2].AllowedIPs) != 6 || len(s.Firewall.Networks) != 2 {
			t.Errorf("peers are %+v, routed %v", s.Peers, s.Firewall.Networks)
		}
	})
	t.Run("a peer has the preshared key that is its own", func(t *testing.T) {
		in := inputs(t, 2)
		in.PresharedKeys = map[mesh.Key]mesh.PrivateKey{in.Peers[1].PublicKey: {}}
		s := state.Build(in)
		if s.Peers[0].PresharedKey != in.PresharedKey || !s.Peers[1].PresharedKey.IsZero() {
			t.Error("the preshared keys are mixed up")
		}
	})
	t.Run("the inputs stay as they are", func(t *testing.T) {
		in := inputs(t, 1)
		slices.Reverse(in.Peers[0].AllowedIPs)
		before := slices.Clone(in.Peers[0].AllowedIPs)
		state.Build(in)
		if !slices.Equal(before, in.Peers[0].AllowedIPs) {
			t.Error("Build sorted the networks of its input")
		}
	})
}

func TestRetained(t *testing.T) {
	in := inputs(t, 3)
	live := made(state.Build(in))
	rekeyed, gone := live.Peers[1], live.Peers[2]
	in.Peers = in.Peers[:1]
	// The machine of the second peer has a new key, and took one address along.
	in.Peers = append(in.Peers, mesh.PeerSpec{PublicKey: mesh.Key{8}, AllowedIPs: rekeyed.AllowedIPs[2:]})
	stranger := gone
	stranger.PublicKey, stranger.PresharedKey = mesh.Key{9}, mesh.SecretKey([32]byte{9})
	live.Peers = append(live.Peers, stranger)

	kept := state.Retained(in, live)
	if len(kept) != 1 || kept[0].PublicKey != gone.PublicKey || !slices.Equal(kept[0].AllowedIPs, gone.AllowedIPs) {
		t.Fatalf("kept %+v, want only %+v", kept, gone)
	}
	in.Retain = kept
	desired := state.Build(in)
	if plan := state.Diff(desired, live); slices.ContainsFunc(plan, func(c state.Change) bool { return planprint.Describe(c).ID == gone.PublicKey.String() }) {
		t.Errorf("the peer that is kept is touched:\n%v", lines(plan))
	}
	if !slices.Contains(desired.Firewall.Networks, gone.AllowedIPs[0]) {
		t.Error("what belongs to the peer that is kept is not routed any more")
	}
}

func TestStatementText(t *testing.T) {
	in := inputs(t, 0)
	in.Neighbours = []state.Neighbour{{LinkName: "other0", Mark: 0x200, Mask: 0x600, Port: 51821}, {LinkName: "old0", Mark: 0x800, Mask: 0x1800}}
	firewall := state.Build(in).Firewall
	for _, chain := range append(firewall.Chains, firewall.Guard.Chains...) {
		for _, s := range chain.Statements {
			if got, err := state.ParseComment(s.Comment()); err != nil || got != s {
				t.Errorf("%q reads as %+v, %v", s.Comment(), got, err)
			}
		}
	}
	earlier := state.Statement{Op: state.AcceptMark, Mark: 0x20, Mask: 0x60}
	if got, err := state.ParseComment("accept mark 0x20/0x60"); err != nil || got != earlier {
		t.Errorf("the rule of an earlier version reads as %+v, %v", got, err)
	}
	for _, bad := range []string{"", "accept", "accept mark 0x20/0x60 x", "clamp mss x ipv4", "foreign rule: x", "accept mark 0x020/0x60"} {
		if got, err := state.ParseComment(bad); err == nil {
			t.Errorf("%q reads as %+v", bad, got)
		}
	}
}

func TestLongListsAreShortenedInText(t *testing.T) {
	plan := state.Diff(state.Build(inputs(t, 50)), made(state.Build(inputs(t, 0))))
	last := lines(plan)[len(plan)-1]
	if !strings.HasSuffix(last, "10.0.0.7/32 and 92 more") {
		t.Errorf("the line is %q", last)
	}
	if networks, ok := plan[len(plan)-1].(state.NetworksChange); !ok || len(networks.Added) != 100 {
		t.Errorf("the change has not all networks: %+v", plan[len(plan)-1])
	}
}

func BenchmarkBuild(b *testing.B) {
	for _, n := range []int{100, 1000, 5000} {
		b.Run(fmt.Sprintf("peers=%d", n), func(b *testing.B) {
			in := inputs(b, n)
			b.ReportAllocs()
			for b.Loop() {
				state.Build(in)
			}
		})
	}
}

// TestPeerIsRenewed has a peer be made anew where nothing else has changed.
func TestPeerIsRenewed(t *testing.T) {
	desired := state.Build(inputs(t, 3))
	live := made(desired)
	desired.Peers[1].Renew = true
	plan := state.Diff(desired, live)
	if len(plan) != 2 {
		t.Fatalf("the plan is %v", lines(plan))
	}
	key := desired.Peers[1].PublicKey
	removed, created := plan[0].(state.PeerChange), plan[1].(state.PeerChange)
	if removed.Action() != state.Delete || removed.Old.PublicKey != key || created.Action() != state.Create || created.New.PublicKey != key {
		t.Errorf("the plan is %v", lines(plan))
	}
	if plan := state.Diff(desired, state.State{Link: live.Link}); len(lines(plan)) == 0 {
		t.Error("a peer that is not there is not made")
	}
}

func BenchmarkDiff(b *testing.B) {
	for _, n := range []int{100, 1000, 5000} {
		desired := state.Build(inputs(b, n))
		live := made(desired)
		for i := range desired.Peers {
			desired.Peers[i].Redirect = false
		}
		run := func(name string, live state.State, want int) {
			b.Run(fmt.Sprintf("%s/peers=%d", name, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if plan := state.Diff(desired, live); len(plan) != want {
						b.Fatalf("%d changes", len(plan))
					}
				}
			})
		}
		run("unchanged", live, 0)
		one := made(live)
		one.Peers[n/2].AllowedIPs = nil
		run("one-changed", one, 1)
	}
}

// TestDiffWithoutFirewall has desired states that name no nftables table.
func TestDiffWithoutFirewall(t *testing.T) {
	desired := state.Build(inputs(t, 1))
	live := made(desired)
	desired.Firewall = state.Firewall{}
	if plan := state.Diff(desired, state.State{}); slices.ContainsFunc(plan, isFirewall) {
		t.Errorf("a table without a name is made:\n%v", lines(plan))
	}
	if diff := cmp.Diff([]string{"- nftables inet spanctl-kubespan"}, lines(state.Diff(desired, live))); diff != "" {
		t.Errorf("plan (-want +got):\n%s", diff)
	}
}

func isFirewall(c state.Change) bool {
	_, is := c.(state.FirewallChange)
	return is
}

// TestMoveLeavesNoGap moves a mesh to another table, another priority, and both.
func TestMoveLeavesNoGap(t *testing.T) {
	live := made(state.Build(inputs(t, 1)))
	subnet := mesh.Subnet("cluster").String()
	own := inputs(t, 0).Identity.Address.String()
	if plan := state.Move(live, state.Scope{RoutingTable: 180, RulePriority: 32500}); len(plan) != 0 {
		t.Errorf("to the same place:\n%v", lines(plan))
	}
	want := []string{
		"+ rule ipv4 100: mark 0x40/0x60, table 180", "+ rule ipv6 100 to " + subnet + ": table 180", "+ rule ipv6 100: mark 0x40/0x60, table 180",
		"- rule ipv4 32500", "- rule ipv6 32500 to " + subnet, "- rule ipv6 32500",
	}
	if diff := cmp.Diff(want, lines(state.Move(live, state.Scope{RoutingTable: 180, RulePriority: 100}))); diff != "" {
		t.Errorf("another priority (-want +got):\n%s", diff)
	}
	want = []string{
		"+ route 0.0.0.0/0 table 7: link kubespan, mtu 1420", "+ route unreachable 0.0.0.0/0 table 7",
		"+ route ::/0 table 7: link kubespan, mtu 1420", "+ route unreachable ::/0 table 7", "+ route local " + own + " table 7: link kubespan",
		"+ rule ipv4 32500: mark 0x40/0x60, table 7", "+ rule ipv6 32500 to " + subnet + ": table 7", "+ rule ipv6 32500: mark 0x40/0x60, table 7",
		"- rule ipv4 32500", "- rule ipv6 32500 to " + subnet, "- rule ipv6 32500",
		"- route 0.0.0.0/0 table 180", "- route unreachable 0.0.0.0/0 table 180",
		"- route ::/0 table 180", "- route unreachable ::/0 table 180", "- route local " + own + " table 180",
	}
	if diff := cmp.Diff(want, lines(state.Move(live, state.Scope{RoutingTable: 7, RulePriority: 32500}))); diff != "" {
		t.Errorf("another table (-want +got):\n%s", diff)
	}
}

// TestRenamedLinkComesUpBehindItsTables: packets that arrive over the new link before its
// tables are there would count as connections from outside.
func TestRenamedLinkComesUpBehindItsTables(t *testing.T) {
	live := state.State{Firewall: state.Firewall{Former: []string{state.TableName("before"), state.GuardName("before")}}}
	plan := state.Diff(state.Build(inputs(t, 1)), live)
	for i, c := range plan {
		if _, is := c.(state.FirewallChange); is != (i == 0) {
			t.Errorf("change %d is %T", i, c)
		}
	}
}
