package payload

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/spanmesh/span/discoveryhttp/clientpb"
	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/peer"
	"github.com/spanmesh/span/reconciler/resource"
	"github.com/spanmesh/span/reconciler/state"
	"github.com/spanmesh/span/schema"
)

// machine is a reconciler.Kernel in memory, of a machine in one network behind a gateway.
type machine struct {
	peers    map[mesh.Key]state.Peer
	networks []netip.Prefix
}

var (
	lan     = netip.MustParsePrefix("10.0.0.0/24")
	gateway = netip.MustParseAddr("10.0.0.254")
	own     = []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("172.17.0.1"), netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("192.0.2.53")}
)

func (m *machine) Host(string, mesh.LinkChoice) (mesh.Host, error) {
	return mesh.Host{Hostname: "self", Addresses: []netip.Addr{own[0], own[2]}, Own: own,
		Links:     []mesh.Link{{Name: "eth0", MTU: 1500, Networks: []netip.Prefix{lan, netip.MustParsePrefix("2001:db8::/64")}, Default: true, Gateway: gateway, Up: true}},
		Connected: []mesh.Connected{{Link: "docker0", Prefix: netip.MustParsePrefix("172.17.0.0/16")}}}, nil
}

func (m *machine) Observe(state.Scope) (state.State, error) {
	s := state.State{}
	for _, p := range m.peers {
		s.Peers = append(s.Peers, p)
	}
	s.Normalize()
	return s, nil
}

func (m *machine) Apply(_ context.Context, _ state.Scope, plan state.Plan) state.Result {
	for _, c := range plan {
		switch c := c.(type) {
		case state.PeerChange:
			if c.Action() == state.Delete {
				delete(m.peers, c.Old.PublicKey)
				continue
			}
			peer := c.New
			peer.LastHandshake, peer.ReceiveBytes = c.Old.LastHandshake, c.Old.ReceiveBytes
			for key, other := range m.peers { // an allowed IP is at one peer, and the last one gets it
				other.AllowedIPs = slices.DeleteFunc(slices.Clone(other.AllowedIPs), func(p netip.Prefix) bool { return slices.Contains(peer.AllowedIPs, p) })
				m.peers[key] = other
			}
			m.peers[peer.PublicKey] = peer
		case state.FirewallChange:
			m.networks = c.New.Networks
		case state.NetworksChange:
			panic("the table was never read")
		}
	}
	return state.Result{Done: plan}
}

func (m *machine) Device(scope state.Scope) (state.Link, []state.Peer, error) {
	s, err := m.Observe(scope)
	return s.Link, s.Peers, err
}

func (m *machine) Trace(paths []state.Path) []state.Way                   { return make([]state.Way, len(paths)) }
func (m *machine) Restart(context.Context, state.Scope) error             { return nil }
func (m *machine) ClearSources(state.Scope) error                         { return nil }
func (m *machine) Probe(context.Context, state.Scope, []peer.Probe) error { return nil }
func (m *machine) Replies() []peer.Reply                                  { return nil }

// shake gives a peer a handshake.
func (m *machine) shake(key mesh.Key, at time.Time) {
	if peer, is := m.peers[key]; is {
		peer.LastHandshake, peer.ReceiveBytes = at, peer.ReceiveBytes+1000
		m.peers[key] = peer
	}
}

// owner returns the peer that WireGuard sends a packet to, by the longest prefix, and whether
// it is sent into the tunnel at all. It is written without any code of the mesh.
func (m *machine) owner(address netip.Addr) (owner mesh.Key, bits int, routed bool) {
	bits = -1
	for key, peer := range m.peers {
		for _, p := range peer.AllowedIPs {
			if p.Contains(address) && p.Bits() > bits {
				owner, bits = key, p.Bits()
			}
		}
	}
	return owner, bits, slices.ContainsFunc(m.networks, func(p netip.Prefix) bool { return p.Contains(address) })
}

const clusterID = "yui150Ogam0pdQoNZS2lZR-ihi8EWxNM17bZPktJKKE="

func identify(string, mesh.Host) (mesh.Identity, error) {
	return mesh.NewIdentity("self", mesh.SecretKey([32]byte{16}), clusterID, net.HardwareAddr{2, 0, 0, 0, 0, 0xff})
}

// member returns another machine, outside of the network of this one.
func member(n byte) mesh.Affiliate {
	address := mesh.Subnet(clusterID).Addr().As16()
	address[15] = n
	return mesh.Affiliate{NodeID: fmt.Sprintf("node-%d", n), Nodename: fmt.Sprintf("name-%d", n),
		Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 1, n}), netip.MustParseAddr(fmt.Sprintf("2001:db8:1::%d", n))},
		KubeSpan: mesh.KubeSpan{PublicKey: mesh.Key{n}, Address: netip.AddrFrom16(address),
			Endpoints: []netip.AddrPort{netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, n}), 51820)}}}
}

// FuzzTakeover has a member of the cluster publish anything. It gets nothing of this machine,
// and nothing that another member has that is up.
func FuzzTakeover(f *testing.F) {
	c := newCipher(f, 0)
	add := func(change func(*mesh.Affiliate)) {
		a := member(3)
		a.NodeID = "attacker"
		change(&a)
		plain, err := proto.Marshal(encodeAffiliate(a))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(plain, true)
		f.Add(plain, false)
	}
	prefixes := func(list ...string) (out []netip.Prefix) {
		for _, text := range list {
			out = append(out, netip.MustParsePrefix(text))
		}
		return out
	}
	self, err := identify("", mesh.Host{})
	if err != nil {
		f.Fatal(err)
	}
	add(func(*mesh.Affiliate) {})
	add(func(a *mesh.Affiliate) {
		a.Addresses = append(slices.Clone(own), gateway, netip.MustParseAddr("10.0.0.6"))
	})
	add(func(a *mesh.Affiliate) {
		a.Addresses = append(a.Addresses[:0], append(member(1).Addresses, member(1).KubeSpan.Address)...)
	})
	add(func(a *mesh.Affiliate) {
		a.KubeSpan.AdditionalAddresses = prefixes("0.0.0.0/0", "::/0", "0.0.0.0/1", "128.0.0.0/1")
	})
	add(func(a *mesh.Affiliate) {
		a.KubeSpan.AdditionalAddresses = prefixes("10.0.0.0/8", "10.0.0.0/24", "10.0.0.0/25", "10.0.0.6/32", "10.0.1.1/32", "fd00::/8")
	})
	add(func(a *mesh.Affiliate) {
		a.KubeSpan.AdditionalAddresses = prefixes("::ffff:10.0.0.0/120", "::ffff:10.0.1.1/128")
	})
	add(func(a *mesh.Affiliate) { a.KubeSpan.Address = member(1).KubeSpan.Address })
	add(func(a *mesh.Affiliate) { a.KubeSpan.PublicKey = member(1).KubeSpan.PublicKey })
	add(func(a *mesh.Affiliate) { a.KubeSpan = member(1).KubeSpan })
	add(func(a *mesh.Affiliate) {
		a.KubeSpan.Address, a.KubeSpan.PublicKey = self.Address.Addr(), self.PublicKey
	})
	f.Fuzz(func(t *testing.T, plain []byte, up bool) {
		var decoded clientpb.Affiliate
		if proto.Unmarshal(plain, &decoded) != nil {
			return
		}
		// The service and the seal bind the node ID.
		decoded.NodeId = "attacker"
		plain, err := proto.Marshal(&decoded)
		if err != nil {
			return
		}
		nonce := make([]byte, c.aead.NonceSize())
		attacker, _, err := c.OpenAffiliate("attacker", c.aead.Seal(nonce, nonce, plain, nil))
		if err != nil {
			return
		}
		attacker.KubeSpan.Endpoints = []netip.AddrPort{netip.MustParseAddrPort("203.0.113.9:51820")}
		takeOver(t, attacker, up)
	})
}

func takeOver(t *testing.T, attacker mesh.Affiliate, up bool) {
	t.Helper()
	m := &machine{peers: map[mesh.Key]state.Peer{}}
	engine := reconciler.NewEngine(m, identify, &resource.Store{}, slog.New(slog.DiscardHandler))
	config := &schema.Config{}
	config.Cluster.ID = clusterID
	config.Cluster.Secret = schema.SecretText("dAmFcyNmDXusqnTSkPJrsgLJ38W8oEEXGZKM0x6Orpc=")
	k := config.KubeSpan()
	k.Enabled, k.MTU, k.InterfaceName, k.ListenPort, k.FirewallMark = true, 1420, "kubespan", 51820, 32
	victims := []mesh.Affiliate{member(1), member(2)}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	pass := func(affiliates ...mesh.Affiliate) {
		now = now.Add(time.Second)
		var known []*mesh.Affiliate
		for _, a := range affiliates {
			known = append(known, &a)
		}
		for _, v := range victims {
			m.shake(v.KubeSpan.PublicKey, now)
		}
		if up {
			m.shake(attacker.KubeSpan.PublicKey, now)
		}
		now = now.Add(time.Second)
		if _, err := engine.Run(t.Context(), now, config, reconciler.Knowledge{Affiliates: known, Complete: true}); err != nil {
			t.Fatal(err)
		}
	}
	pass(victims...)
	pass(victims...)
	for range 3 {
		pass(append([]mesh.Affiliate{attacker}, victims...)...)
		m.check(t, victims)
	}
	m.checkDefaultRoutes(t, attacker.KubeSpan.AdditionalAddresses)
	// A machine that joins is safe from its first pass on.
	joined := &machine{peers: map[mesh.Key]state.Peer{}}
	m = joined
	engine = reconciler.NewEngine(joined, identify, &resource.Store{}, slog.New(slog.DiscardHandler))
	pass(append([]mesh.Affiliate{attacker}, victims...)...)
	m.check(t, nil)
	pass(append([]mesh.Affiliate{attacker}, victims...)...)
	m.check(t, nil)
}

// check fails the test if something is not where it belongs.
func (m *machine) check(t *testing.T, victims []mesh.Affiliate) {
	t.Helper()
	local := append(slices.Clone(own), gateway, netip.MustParseAddr("10.0.0.6"), netip.MustParseAddr("10.0.0.255"),
		netip.MustParseAddr("2001:db8::6"), netip.MustParseAddr("172.17.0.5"),
		netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("224.0.0.1"), netip.MustParseAddr("ff02::1"), netip.MustParseAddr("169.254.1.1"),
		netip.MustParseAddr("fe80::1"), netip.MustParseAddr("255.255.255.255"))
	self, err := identify("", mesh.Host{})
	if err != nil {
		t.Fatal(err)
	}
	for _, address := range append(local, self.Address.Addr()) {
		if owner, bits, routed := m.owner(address); bits >= 0 || routed {
			t.Errorf("%s, which is local, goes to %s by a /%d (routed: %v)", address, owner, bits, routed)
		}
	}
	for _, v := range victims {
		for _, address := range append([]netip.Addr{v.KubeSpan.Address}, v.Addresses...) {
			if owner, bits, _ := m.owner(address); owner != v.KubeSpan.PublicKey {
				t.Errorf("%s of %s goes to %s by a /%d", address, v.NodeID, owner, bits)
			}
		}
	}
	held := map[netip.Prefix]mesh.Key{}
	for key, peer := range m.peers {
		for _, p := range peer.AllowedIPs {
			if other, twice := held[p]; twice {
				t.Errorf("%s is at both %s and %s", p, key, other)
			}
			if held[p] = key; p != p.Masked() || p.Addr().Is4In6() {
				t.Errorf("%s is no prefix for WireGuard", p)
			}
		}
	}
	slices.SortFunc(m.networks, func(a, b netip.Prefix) int { return a.Addr().Compare(b.Addr()) })
	for i := range m.networks[1:] {
		if m.networks[i].Overlaps(m.networks[i+1]) {
			t.Errorf("the routed networks %s and %s overlap", m.networks[i], m.networks[i+1])
		}
	}
}

// checkDefaultRoutes fails the test if the internet is reached through a member that has no
// network of it but default routes.
func (m *machine) checkDefaultRoutes(t *testing.T, networks []netip.Prefix) {
	t.Helper()
	for _, address := range []netip.Addr{netip.MustParseAddr("8.8.8.8"), netip.MustParseAddr("2606:4700::1")} {
		if slices.ContainsFunc(networks, func(p netip.Prefix) bool {
			return p.Bits() > 1 && (p.Contains(address) || p.Addr().Is4In6())
		}) {
			continue
		}
		if owner, bits, routed := m.owner(address); bits >= 0 || routed {
			t.Errorf("%s goes to %s by a default route", address, owner)
		}
	}
}
