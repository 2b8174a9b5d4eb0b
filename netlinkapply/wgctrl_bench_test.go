package netlinkapply_test

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"

	"go4.org/netipx"
	"golang.zx2c4.com/wireguard/wgctrl"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/spanmesh/span/netlinkapply"
	"github.com/spanmesh/span/reconciler/state"
)

// BenchmarkConfigurePeers compares two ways to bring the peers of a plan to the device: that of
// Kernel.Apply, and wgctrl. docs/decisions/wireguard-configuration.md has the figures.
func BenchmarkConfigurePeers(b *testing.B) {
	const peers = 1000
	k := open(b)
	in := inputs(b, peers)
	// Without keepalives no handshake runs beside the measurement.
	in.KubeSpan.PersistentKeepalive = 0
	full := state.Build(in)
	none := full
	none.Peers = nil
	scope := state.ScopeOf(&in.KubeSpan)
	applyAll(b, k, scope, full)
	defer applyAll(b, k, scope, state.State{})
	ways := []struct {
		name      string
		configure func(testing.TB, state.Plan)
	}{
		{"spanctl", func(tb testing.TB, plan state.Plan) { applyPlan(tb, k, scope, plan) }},
		{"wgctrl", applyByWgctrl},
	}
	for _, way := range ways {
		for _, n := range []int{1, 100, peers} {
			there, back := changedPeers(full, n)
			b.Run(fmt.Sprintf("case=changed/peers=%d/by=%s", n, way.name), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					way.configure(b, there)
					there, back = back, there
				}
			})
			applyAll(b, k, scope, full)
		}
		b.Run(fmt.Sprintf("case=first/peers=%d/by=%s", peers, way.name), func(b *testing.B) {
			create, remove := peerPlan(full, none), peerPlan(none, full)
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				applyPlan(b, k, scope, remove)
				b.StartTimer()
				way.configure(b, create)
			}
		})
	}
}

// BenchmarkReadPeers compares two ways to read the peers of a device that does not change: that of
// Kernel.Device, and wgctrl. Both include what the device takes to answer.
func BenchmarkReadPeers(b *testing.B) {
	for _, n := range []int{1000, 5000} {
		of := newPeersBench(b, n)
		of.apply(b, of.full)
		b.Run(fmt.Sprintf("peers=%d/by=spanctl", n), func(b *testing.B) { of.readPeers(b) })
		b.Run(fmt.Sprintf("peers=%d/by=wgctrl", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if peers := readByWgctrl(b); peers != n {
					b.Fatal(peers)
				}
			}
		})
		of.apply(b, state.State{})
	}
}

// readByWgctrl returns the number of peers.
func readByWgctrl(tb testing.TB) int {
	tb.Helper()
	client, err := wgctrl.New()
	if err != nil {
		tb.Fatal(err)
	}
	device, err := client.Device("kubespan")
	if err != nil {
		tb.Fatal(err)
	}
	if err := client.Close(); err != nil {
		tb.Fatal(err)
	}
	return len(device.Peers)
}

// changedPeers returns the plan that moves n peers to another endpoint and takes one of two
// networks from each, and the plan that leads back.
func changedPeers(full state.State, n int) (there, back state.Plan) {
	changed := full
	changed.Peers = slices.Clone(full.Peers)
	for i := range changed.Peers[:n] {
		p := &changed.Peers[i]
		p.AllowedIPs = p.AllowedIPs[:1]
		p.Endpoint = netip.AddrPortFrom(p.Endpoint.Addr().Next(), p.Endpoint.Port())
	}
	return peerPlan(changed, full), peerPlan(full, changed)
}

// peerPlan returns the changes of peers between two states. Endpoints are set in any case.
func peerPlan(desired, live state.State) state.Plan {
	desired.Peers = slices.Clone(desired.Peers)
	for i := range desired.Peers {
		desired.Peers[i].Redirect = true
	}
	return slices.DeleteFunc(state.Diff(desired, live), func(c state.Change) bool {
		_, isPeer := c.(state.PeerChange)
		return !isPeer
	})
}

func applyPlan(tb testing.TB, k *netlinkapply.Kernel, scope state.Scope, plan state.Plan) {
	tb.Helper()
	if r := k.Apply(tb.Context(), scope, plan); r.Err != nil {
		tb.Fatal(r.Err)
	}
}

func applyAll(tb testing.TB, k *netlinkapply.Kernel, scope state.Scope, desired state.State) {
	tb.Helper()
	live, err := k.Observe(scope)
	if err != nil {
		tb.Fatal(err)
	}
	applyPlan(tb, k, scope, state.Diff(desired, live))
}

// applyByWgctrl configures the peers of a plan by wgctrl's ConfigureDevice.
func applyByWgctrl(tb testing.TB, plan state.Plan) {
	tb.Helper()
	var config wgtypes.Config
	for _, c := range plan {
		config.Peers = append(config.Peers, wgctrlPeer(c.(state.PeerChange)))
	}
	client, err := wgctrl.New()
	if err != nil {
		tb.Fatal(err)
	}
	if err := client.ConfigureDevice("kubespan", config); err != nil {
		tb.Fatal(err)
	}
	if err := client.Close(); err != nil {
		tb.Fatal(err)
	}
}

func wgctrlPeer(c state.PeerChange) wgtypes.PeerConfig {
	if c.Action() == state.Delete {
		return wgtypes.PeerConfig{PublicKey: wgtypes.Key(c.Old.PublicKey), Remove: true, UpdateOnly: true}
	}
	p := wgtypes.PeerConfig{PublicKey: wgtypes.Key(c.New.PublicKey), UpdateOnly: c.Action() == state.Update}
	if c.NewPresharedKey() {
		key := wgtypes.Key(c.New.PresharedKey.Bytes())
		p.PresharedKey = &key
	}
	if c.NewKeepalive() {
		interval := c.New.Keepalive
		p.PersistentKeepaliveInterval = &interval
	}
	if c.NewAllowedIPs() {
		p.ReplaceAllowedIPs = true
		p.AllowedIPs = make([]net.IPNet, 0, len(c.New.AllowedIPs))
		for _, prefix := range c.New.AllowedIPs {
			p.AllowedIPs = append(p.AllowedIPs, *netipx.PrefixIPNet(prefix))
		}
	}
	if c.NewEndpoint() {
		p.Endpoint = net.UDPAddrFromAddrPort(c.New.Endpoint)
	}
	return p
}
