package reconciler_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/path"
	"github.com/spanmesh/span/reconciler/peer"
	"github.com/spanmesh/span/reconciler/state"
	"github.com/spanmesh/span/schema"
)

// histories is how many histories a test goes through.
const histories = 9

// history changes what a machine sees at random.
type history struct {
	*rand.Rand
	now      time.Time
	config   *schema.Config
	known    reconciler.Knowledge
	direct   reconciler.Direct
	trigger  reconciler.Trigger
	versions uint64
	configs  []*schema.Config
	// calm is set where machines neither join nor leave, and wild where some become others.
	calm, wild bool
	// happened are the names of what has happened last.
	happened []string
}

func newHistory(t *testing.T, seed uint64) *history {
	h := &history{Rand: rand.New(rand.NewPCG(seed, 2)), now: start, calm: seed%3 == 0, wild: seed%3 == 2}
	for _, settings := range []string{"", `mtu: "auto"`, "relay: offer: true", "allowDownPeerBypass: true", "relay: use: true", "harvestExtraEndpoints: true",
		"relay: use: false", "persistentKeepalive: 0", `filters: endpoints: ["0.0.0.0/0", "!198.51.102.0/24"]`, "enabled: false"} {
		h.configs = append(h.configs, config(t, settings))
	}
	h.config = h.configs[h.IntN(len(h.configs)-1)]
	h.known.Complete = true
	for n := range byte(20) {
		own, other := fmt.Sprintf("198.51.100.%d:51820", n+1), fmt.Sprintf("198.51.101.%d:51820", n+1)
		a := affiliate(n+1, own, other)
		h.known.Affiliates = append(h.known.Affiliates, &a)
	}
	h.version()
	return h
}

// version gives what is known another version, and rarely none.
func (h *history) version() {
	h.versions++
	if h.known.Version = h.versions; h.IntN(60) == 0 {
		h.known.Version = 0
	}
}

// next lets some time pass, in which something happens. It returns what happens to the engines and in their
// kernels.
func (h *history) next() (edits []func(*twin)) {
	h.happened = nil
	h.now = h.now.Add(time.Duration(h.IntN(3000)) * time.Millisecond)
	h.trigger = reconciler.Trigger{DeviceOnly: h.IntN(3) > 0, NetworkChanged: h.IntN(60) == 0}
	switch h.IntN(80) {
	case 0:
		h.now = h.now.Add(time.Duration(h.IntN(300)) * time.Second)
	case 1:
		h.config = h.configs[h.IntN(len(h.configs))]
	case 2:
		h.trigger.ClockStep = time.Duration(h.IntN(200)-100) * time.Second
		h.now = h.now.Add(h.trigger.ClockStep)
	case 3:
		h.pick(knowledgeChanges)
	case 4:
		edits = append(edits, h.hostChange())
	}
	if h.IntN(8) == 0 || !h.wild && h.IntN(3) == 0 {
		h.learn()
	}
	if h.IntN(12) == 0 {
		edits = append(edits, h.relate())
	}
	return append(edits, h.kernelChange())
}

// pick lets one of several changes happen.
func (h *history) pick(changes map[string]func(*history)) {
	names := slices.Sorted(maps.Keys(changes))
	name := names[h.IntN(len(names))]
	h.happened = append(h.happened, name)
	changes[name](h)
	h.version()
}

// hostChange changes the machine's own addresses and links.
func (h *history) hostChange() func(*twin) {
	links := linksOf(1500-h.IntN(2), byte(8*h.IntN(3)))
	own := []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 0, byte(h.IntN(20))})}
	address := netip.AddrFrom4([4]byte{10, 0, 0, byte(100 + h.IntN(2))})
	return func(w *twin) {
		w.kernel.links, w.kernel.own, w.kernel.address = links, own, address
	}
}

// linksOf returns two links, of which the other is in a network of endpoints of peers.
func linksOf(mtu int, at byte) []mesh.Link {
	return []mesh.Link{
		{Name: "eth0", MTU: mtu, Default: true, Networks: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, at}), 29)}},
		{Name: "eth1", MTU: 1400, Networks: []netip.Prefix{netip.MustParsePrefix("198.51.102.0/24")}},
	}
}

// relays are blind relays, one of which has the key of a machine.
func (h *history) relays() (all []mesh.BlindRelay) {
	for _, n := range []byte{200, 203, byte(h.IntN(200))} {
		if h.IntN(3) > 0 {
			all = append(all, mesh.BlindRelay{Key: mesh.Key{n}, Name: fmt.Sprint("relay-", n), URL: "https://relay.example",
				Endpoints: []netip.AddrPort{atRelay(n)}})
		}
	}
	return all
}

func atRelay(n byte) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, n}), 51821)
}

// knowledgeChanges change what registries know, by the name of the field.
var knowledgeChanges = map[string]func(*history){
	"Affiliates": (*history).learn,
	"PresharedKeys": func(h *history) {
		h.known.PresharedKeys = map[mesh.Key]mesh.PrivateKey{{byte(h.IntN(20))}: mesh.SecretKey([32]byte{byte(h.IntN(3))})}
	},
	"Seen": func(h *history) { h.known.Seen = []netip.Addr{netip.AddrFrom4([4]byte{203, 0, 113, byte(h.IntN(2))})} },
	"Outside": func(h *history) {
		at := netip.AddrFrom4([4]byte{203, 0, 113, byte(h.IntN(2))})
		h.known.Outside = mesh.Outside{IPv4: mesh.Mapping{Kind: mesh.NATIndependent, Address: at, Ports: []uint16{uint16(h.IntN(2) + 1)}}}
	},
	"Node": func(h *history) {
		h.known.Node = mesh.Node{Name: fmt.Sprint("self-", h.IntN(2)), PodNetworks: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/24")}}
	},
	"Relays":  func(h *history) { h.known.Relays = h.relays() },
	"Refused": func(h *history) { h.known.Refused = h.refused() },
	"Unreadable": func(h *history) {
		h.known.Refused = h.refused()
		h.known.Unreadable = slices.Sorted(maps.Keys(h.known.Refused))
	},
	"Conditions": func(h *history) {
		h.known.Conditions = []condition.Condition{{Code: condition.AddressOverlap, Cause: fmt.Sprint(h.IntN(2))}}[:h.IntN(2)]
	},
	"Complete": func(h *history) { h.known.Complete = !h.known.Complete },
}

// refused are affiliates that registries do not use; none for most of the time.
func (h *history) refused() map[string]string {
	h.known.Unreadable = nil
	if h.IntN(3) > 0 {
		return nil
	}
	return map[string]string{fmt.Sprint("odd-", h.IntN(3)): "cannot be read"}
}

// learn changes what discovery knows of a machine.
func (h *history) learn() {
	all := slices.Clone(h.known.Affiliates)
	n := byte(h.IntN(30) + 1)
	if h.calm {
		n = n%20 + 1
	}
	at, found := slices.BinarySearchFunc(all, affiliate(n).NodeID, byNodeID)
	switch what := h.IntN(14); {
	case !found:
		h.happened = append(h.happened, fmt.Sprint(n, " joins"))
		a := affiliate(n, fmt.Sprintf("198.51.100.%d:51820", n))
		all = slices.Insert(all, at, &a)
	case what < 2 && !h.calm:
		h.happened = append(h.happened, fmt.Sprint(n, " leaves"))
		all = slices.Delete(all, at, at+1)
	case what == 2 && !h.calm:
		a := affiliate(n, fmt.Sprintf("198.51.100.%d:51820", n))
		all[at] = &a
	default:
		names := slices.Sorted(maps.Keys(affiliateChanges))
		if !h.wild || h.IntN(3) > 0 {
			names = slices.DeleteFunc(names, func(name string) bool { return slices.Contains(whoItIs, name) })
		}
		changed := *all[at] // the engine keeps what it knows
		all[at] = &changed
		for range h.IntN(3) + 1 {
			name := names[h.IntN(len(names))]
			h.happened = append(h.happened, fmt.Sprint(name, " of ", n))
			affiliateChanges[name](h, &changed, n)
		}
	}
	slices.SortFunc(all, func(a, b *mesh.Affiliate) int { return strings.Compare(a.NodeID, b.NodeID) })
	h.known.Affiliates = slices.CompactFunc(all, func(a, b *mesh.Affiliate) bool { return a.NodeID == b.NodeID })
	h.version()
}

func byNodeID(a *mesh.Affiliate, id string) int { return strings.Compare(a.NodeID, id) }

// whoItIs are the fields by which an affiliate is another machine.
var whoItIs = []string{"NodeID", "Nodename", "Static", "Configured", "PublicKey", "Address"}

// affiliateChanges change the affiliate of a machine with a number, by the name of the field.
var affiliateChanges = map[string]func(h *history, a *mesh.Affiliate, n byte){
	"NodeID": func(h *history, a *mesh.Affiliate, n byte) { a.NodeID = affiliate(n+byte(h.IntN(2))).NodeID + "x" },
	"Addresses": func(h *history, a *mesh.Affiliate, n byte) {
		a.Addresses = []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 0, n}), netip.AddrFrom4([4]byte{10, 0, 0, byte(h.IntN(20))})}[:1+h.IntN(2)]
	},
	"Hostname":        func(h *history, a *mesh.Affiliate, _ byte) { a.Hostname = fmt.Sprint("host-", h.IntN(3)) },
	"Nodename":        func(h *history, a *mesh.Affiliate, _ byte) { a.Nodename = affiliate(byte(h.IntN(20) + 1)).Nodename },
	"MachineType":     func(h *history, a *mesh.Affiliate, _ byte) { a.MachineType = fmt.Sprint(h.IntN(2)) },
	"OperatingSystem": func(h *history, a *mesh.Affiliate, _ byte) { a.OperatingSystem = fmt.Sprint(h.IntN(2)) },
	"Version":         func(h *history, a *mesh.Affiliate, _ byte) { a.Version = []string{"", "v1", "v2"}[h.IntN(3)] },
	"ControlPlane":    func(h *history, a *mesh.Affiliate, _ byte) { a.ControlPlane.APIServerPort = h.IntN(2) },
	"Static": func(h *history, a *mesh.Affiliate, n byte) {
		if a.Static = !a.Static; a.Static {
			a.NodeID = mesh.StaticID(fmt.Sprint(n))
		} else {
			a.NodeID = affiliate(n).NodeID
		}
	},
	"Shared":     func(_ *history, a *mesh.Affiliate, _ byte) { a.Shared = a.Static && !a.Shared },
	"Configured": func(h *history, a *mesh.Affiliate, _ byte) { a.Configured = h.networks() },
	"PublicKey": func(h *history, a *mesh.Affiliate, n byte) {
		a.KubeSpan.PublicKey = mesh.Key{n * byte(h.IntN(2)), byte(h.IntN(2))}
	},
	"Address": func(h *history, a *mesh.Affiliate, _ byte) {
		a.KubeSpan.Address = affiliate(byte(h.IntN(20) + 1)).KubeSpan.Address
	},
	"AdditionalAddresses":       func(h *history, a *mesh.Affiliate, _ byte) { a.KubeSpan.AdditionalAddresses = h.networks() },
	"ExcludeAdvertisedNetworks": func(h *history, a *mesh.Affiliate, _ byte) { a.KubeSpan.ExcludeAdvertisedNetworks = h.networks() },
	"Endpoints": func(h *history, a *mesh.Affiliate, n byte) {
		a.KubeSpan.Endpoints = []netip.AddrPort{netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, byte(100 + h.IntN(3)), n}), uint16(51820+h.IntN(3))),
			netip.MustParseAddrPort("0.0.0.0:1")}[:1+h.IntN(6)/5]
	},
	"Relay":  func(_ *history, a *mesh.Affiliate, _ byte) { a.KubeSpan.Relay = !a.KubeSpan.Relay },
	"Relays": func(h *history, a *mesh.Affiliate, _ byte) { a.KubeSpan.Relays = []mesh.Key{{1}, {2}, {3}}[:h.IntN(4)] },
	"NAT": func(h *history, a *mesh.Affiliate, _ byte) {
		a.KubeSpan.NAT = []mesh.NAT{mesh.NATUnknown, mesh.NATDependent, mesh.NATNone}[h.IntN(3)]
	},
	"Probes":      func(_ *history, a *mesh.Affiliate, _ byte) { a.KubeSpan.Probes = !a.KubeSpan.Probes },
	"KnowsRelays": func(_ *history, a *mesh.Affiliate, _ byte) { a.KubeSpan.KnowsRelays = !a.KubeSpan.KnowsRelays },
	"Registered": func(h *history, a *mesh.Affiliate, _ byte) {
		a.KubeSpan.Registered = []mesh.Key{{200}, {203}, {211}}[:h.IntN(4)]
	},
	"RelayEndpoints": func(h *history, a *mesh.Affiliate, n byte) {
		a.KubeSpan.RelayEndpoints = []netip.AddrPort{atRelay(200), netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, n}), 51820)}[:h.IntN(3)]
	},
	"Offer": func(h *history, a *mesh.Affiliate, n byte) {
		if a.KubeSpan.Offer = (mesh.RelayOffer{}); h.IntN(3) > 0 {
			a.KubeSpan.Offer = mesh.RelayOffer{Key: mesh.Key{byte(210 + h.IntN(3))}, Endpoints: []netip.AddrPort{atRelay(n)}}
		}
	},
}

// networks are some that machines claim.
func (h *history) networks() (all []netip.Prefix) {
	for range h.IntN(3) {
		network := netip.AddrFrom4([4]byte{172, 16, byte(h.IntN(40)), 0})
		all = append(all, netip.PrefixFrom(network, 20+4*h.IntN(2)).Masked())
	}
	return all
}

// directChanges change what is known of direct paths, by the name of the field.
var directChanges = map[string]func(*history){
	"On":  func(h *history) { h.direct.On = !h.direct.On },
	"Off": func(h *history) { h.direct.Off = pathReasons[h.IntN(len(pathReasons))] },
	"Paths": func(h *history) {
		first := byte(h.IntN(20) + 1)
		h.direct.Paths = []mesh.Path{{Peer: mesh.Key{first}, Endpoint: netip.MustParseAddrPort("203.0.113.77:4242"), Punched: h.IntN(2) == 0},
			{Peer: mesh.Key{first + 2}, Endpoint: netip.MustParseAddrPort("203.0.113.78:4242")}}[:h.IntN(3)]
	},
	"Why": func(h *history) { h.direct.Why = map[mesh.Key]string{{byte(h.IntN(20))}: "no answer"} },
	"Relays": func(h *history) {
		h.direct.Relays = nil
		for _, n := range []byte{200, 203, 210} {
			h.direct.Relays = append(h.direct.Relays, h.relayState(n))
		}
	},
}

// relate changes what is known of direct paths and of relays.
func (h *history) relate() func(*twin) {
	switch h.IntN(6) {
	case 0:
		tunnels := map[mesh.Key]netip.AddrPort{{203}: netip.MustParseAddrPort("127.0.0.1:4000")}
		return func(w *twin) { w.RestoreTunnels(tunnels) }
	case 1:
		offer := reconciler.Offer{Key: mesh.Key{byte(220 * h.IntN(2))}, Port: 51821}
		return func(w *twin) { w.SetOffer(offer) }
	case 2:
		return func(w *twin) { w.Nudge(atRelay(200)) }
	case 3:
		fault := error(&peer.FilteredError{Peer: mesh.Key{byte(h.IntN(20) + 1)}, Err: errors.New("not permitted")})
		if h.IntN(2) == 0 {
			fault = nil
		}
		return func(w *twin) { w.kernel.probeFault = fault }
	case 4:
		h.known.Relays = h.relays()
		h.version()
		return func(*twin) {}
	default:
		h.pick(directChanges)
		direct := h.direct
		return func(w *twin) { w.SetDirect(direct) }
	}
}

// kernelChange has something happen in the kernel.
func (h *history) kernelChange() func(*twin) {
	moved, roamed, gone, fails, wedged := h.IntN(6), h.IntN(100) == 0, h.IntN(150) == 0, h.IntN(80) == 0, h.IntN(150) == 0
	seed, beside := h.Uint64(), h.IntN(60)
	return func(w *twin) {
		k := w.kernel
		r := rand.New(rand.NewPCG(seed, 3))
		k.wedged, k.refuse = wedged, nil
		if left := r.IntN(4); fails {
			k.refuse = func(state.Change) bool { left--; return left < 0 }
		}
		k.edit(func(s *state.State) {
			s.Normalize()
			h.traffic(r, k, s, moved)
			if beside < 2 {
				s.Neighbours = []state.Neighbour{{LinkName: "other", Mark: 1, Mask: 1, Port: 4}}[:beside]
			}
			if len(s.Peers) == 0 {
				return
			}
			p := &s.Peers[r.IntN(len(s.Peers))]
			if roamed {
				p.Endpoint = netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(r.IntN(9))}), 4242)
			}
			if gone {
				s.Peers = slices.Delete(s.Peers, 0, 1)
			}
		})
	}
}

// traffic has some peers exchange packets, and all of them make handshakes.
func (h *history) traffic(r *rand.Rand, k *fakeKernel, s *state.State, moved int) {
	k.replies = nil
	for i := range s.Peers {
		p := &s.Peers[i]
		age := h.now.Sub(p.LastHandshake)
		asked := slices.ContainsFunc(k.probed, func(x peer.Probe) bool { return x.Peer == p.PublicKey })
		silent := p.PublicKey[0]%4 == 3 && h.now.Minute()%4 >= 2
		if !p.Endpoint.IsValid() || silent || !asked && age < time.Duration(60+r.IntN(120))*time.Second && r.IntN(20) >= moved {
			continue
		}
		if age > time.Minute {
			p.LastHandshake = h.now
		}
		p.ReceiveBytes, p.TransmitBytes = p.ReceiveBytes+124, p.TransmitBytes+124
		if asked && r.IntN(20) > 0 {
			k.replies = append(k.replies, peer.Reply{Peer: p.PublicKey, RTT: time.Duration(r.IntN(50)) * time.Millisecond})
		}
	}
	k.probed = nil
}

// relayState is what checks have shown of a relay.
func (h *history) relayState(n byte) path.RelayState {
	s := path.RelayState{Key: mesh.Key{n}, At: atRelay(n), Lost: h.IntN(3) == 0, Unregistered: h.IntN(3)}
	if h.IntN(3) == 0 {
		s.ForgotAt = h.now
	}
	if h.IntN(3) == 0 {
		s.Answers = atRelay(n)
	}
	return s
}

var pathReasons = []path.Reason{"", path.Off, path.NotShared}
