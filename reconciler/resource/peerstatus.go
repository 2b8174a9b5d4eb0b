package resource

import (
	"cmp"
	"math"
	"net/netip"
	"strconv"
	"time"

	"github.com/spanmesh/span/reconciler/human"
	"github.com/spanmesh/span/reconciler/peer"
)

// PeerStatuses has the state of the connection to each peer, by public key.
var PeerStatuses = &Type{
	Name:      "KubeSpanPeerStatuses",
	Namespace: "kubespan",
	Aliases:   []string{"kubespanpeerstatuses", "kubespanpeerstatus", "peers", "peer", "ksps"},
	columns: []column{
		columnOf("LABEL", func(s PeerStatus) string { return s.Label }),
		columnOf("ENDPOINT", func(s PeerStatus) string {
			switch {
			case s.Relay != "":
				return "relay " + s.Relay
			case s.Path == peer.PathBlindRelayTCP:
				return "blind relay " + s.BlindRelay + " over TCP"
			case s.BlindRelay != "":
				return "blind relay " + s.BlindRelay
			case !s.Endpoint.IsValid():
				return ""
			default:
				return s.Endpoint.String()
			}
		}),
		columnOf("STATE", func(s PeerStatus) string { return string(s.State) }),
		shows("receiveBytes", columnOf("RX", func(s PeerStatus) string { return human.Bytes(s.ReceiveBytes) })),
		shows("transmitBytes", columnOf("TX", func(s PeerStatus) string { return human.Bytes(s.TransmitBytes) })),
		columnOf("RTT", func(s PeerStatus) string {
			if s.RTT == 0 {
				return ""
			}
			return s.RTT.String()
		}),
		shows("lastHandshakeTime", wide(ageOf("HANDSHAKE", func(s PeerStatus) time.Time { return s.LastHandshakeTime }))),
		wide(columnOf("PATH", func(s PeerStatus) string { return string(s.Path) })),
		wide(columnOf("RELAY", func(s PeerStatus) string { return cmp.Or(s.Relay, s.BlindRelay) })),
		wide(columnOf("NOT DIRECT", func(s PeerStatus) string { return s.NotDirect })),
		shows("lastEndpointChange", wide(ageOf("ENDPOINT CHANGED", func(s PeerStatus) time.Time { return s.LastEndpointChange }))),
	},
	names:  namesOf(func(s PeerStatus) []string { return []string{s.Label} }),
	sample: PeerStatus{},
}

// PeerStatus is the spec of PeerStatuses.
type PeerStatus struct {
	// Endpoint is where WireGuard sends to.
	Endpoint netip.AddrPort `json:"endpoint,omitzero"`
	// Label is what the peer calls itself, which others may do too.
	Label string `json:"label"`
	// Name is the label, or the public key if the label is empty, a key, or another machine's too.
	Name string `json:"name"`
	// NodeID is the node ID of the peer.
	NodeID string `json:"nodeID,omitempty"`
	// Address is the one that it is reached at inside of the mesh.
	Address netip.Addr `json:"address,omitzero"`
	// State is "up", "down", or "unknown" while an endpoint is on trial. A peer whose traffic a
	// relay carries is up.
	State peer.State `json:"state"`
	// ReceiveBytes is how many bytes came from the peer since it was first seen.
	ReceiveBytes int64 `json:"receiveBytes"`
	// TransmitBytes is how many bytes went to the peer since it was first seen.
	TransmitBytes int64 `json:"transmitBytes"`
	// LastHandshakeTime is when the last handshake ended.
	LastHandshakeTime time.Time `json:"lastHandshakeTime,omitzero"`
	// LastUsedEndpoint is the endpoint that spanctl tried or used last.
	LastUsedEndpoint netip.AddrPort `json:"lastUsedEndpoint,omitzero"`
	// LastEndpointChange is when the endpoint changed last.
	LastEndpointChange time.Time `json:"lastEndpointChange,omitzero"`
	// RTT is the last round-trip time of an echo through the tunnel; zero if the peer has
	// answered none.
	RTT Duration `json:"rtt,omitzero"`
	// SmoothedRTT is its moving average.
	SmoothedRTT Duration `json:"smoothedRTT,omitzero"`
	// Loss is how many of the latest 64 echoes had no answer, such as "3%"; empty for a peer that
	// answers none.
	Loss Percent `json:"loss,omitzero"`
	// EchoesSent counts the echoes that were sent.
	EchoesSent int64 `json:"echoesSent,omitzero"`
	// EchoesAnswered counts those that had an answer.
	EchoesAnswered int64 `json:"echoesAnswered,omitzero"`
	// Path is how packets go to the peer: "direct", "punched" (direct, for which the NATs of both ends
	// had to be opened), "blind-relay", "blind-relay-tcp" (a relay that this machine reaches over TCP),
	// "forwarding" (a member that can read) or "none".
	Path peer.PathKind `json:"path"`
	// Relay is the name of the peer that carries this one's traffic; empty for none.
	Relay string `json:"relay,omitempty"`
	// BlindRelay is the name of the relay that forwards WireGuard's packets to the peer, and cannot
	// read them; empty for none.
	BlindRelay string `json:"blindRelay,omitempty"`
	// NotDirect is why no direct path leads to a peer behind a relay; empty if it is not known.
	NotDirect string `json:"notDirect,omitempty"`
}

// Equal reports whether other is an equal spec.
func (s PeerStatus) Equal(other any) bool { return any(s) == other }

// Percent is a share, which is shown to two digits, such as "0%", "1.6%" or "12%". The zero value is
// one that is not known.
type Percent struct {
	percent float64
	known   bool
}

// PercentOf returns a share that is known.
func PercentOf(percent float64) Percent { return Percent{percent, true} }

// Value returns the share, from 0 to 100, if it is known.
func (p Percent) Value() (percent float64, known bool) { return p.percent, p.known }

func (p Percent) String() string {
	if !p.known {
		return ""
	}
	percent, digits := p.percent, 0
	if percent < 10 {
		percent, digits = math.Round(percent*10)/10, -1
	}
	return strconv.FormatFloat(percent, 'f', digits, 64) + "%"
}

// MarshalText returns what String does.
func (p Percent) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// Duration is a time.Duration that is shown to three digits, such as "11.2ms".
type Duration time.Duration

func (d Duration) String() string {
	precision := time.Microsecond
	for time.Duration(d) >= 1000*precision {
		precision *= 10
	}
	return time.Duration(d).Round(precision).String()
}

// MarshalText returns what String does.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }
