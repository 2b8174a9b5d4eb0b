package path

import (
	"net/netip"
	"slices"
	"time"

	"github.com/spanmesh/span/reconciler/mesh"
)

// Reason is why there is no direct path to a peer; empty if there is one.
type Reason string

// The reasons.
const (
	// NoAgent means that the peer answers no probes: it runs no agent of this version, or looks for none.
	NoAgent Reason = "no-agent"
	// Off means that the config has no paths looked for.
	Off Reason = "off"
	// NotShared means that this machine cannot send from WireGuard's port.
	NotShared Reason = "not-shared"
	// NoEndpoints means that the peer has published none.
	NoEndpoints Reason = "no-endpoints"
	// Waiting means that others are looked for first.
	Waiting Reason = "waiting"
	// Probing means that a round is under way.
	Probing Reason = "probing"
	// BothDependent means that both ends are behind NATs that use another port for each destination.
	BothDependent Reason = "both-dependent"
	// OneDependent means that one end is, and that the other's lets no other port in.
	OneDependent Reason = "one-dependent"
	// Blocked means that no UDP comes to this machine, neither from servers nor from any peer.
	Blocked Reason = "blocked"
	// NoAnswer means that none of the peer's endpoints has answered.
	NoAnswer Reason = "no-answer"
)

var texts = map[Reason]string{
	NoAgent:       "the peer answers no probes: it looks for no paths, or runs no agent of this version",
	Off:           "paths are not looked for: machine.network.kubespan.nat.punch is false",
	NotShared:     "paths are not looked for: the agent cannot send from WireGuard's port",
	NoEndpoints:   "the peer has published no endpoint",
	Waiting:       "waits for its turn to be probed",
	Probing:       "endpoints are being probed",
	BothDependent: "both NATs use another port for each destination",
	OneDependent:  "one NAT uses another port for each destination, and the other lets no other port in",
	Blocked:       "neither a server nor a peer has answered over UDP: a firewall may block it",
	NoAnswer:      "no endpoint of the peer has answered",
}

// Text returns the reason for people; empty for none.
func (r Reason) Text() string { return texts[r] }

// Outcome is what probing a candidate has shown.
type Outcome string

// The outcomes.
const (
	// NotTried means that no probe was sent.
	NotTried Outcome = "not tried"
	// Tried means that probes are being sent.
	Tried Outcome = "probing"
	// Silent means that there was no answer.
	Silent Outcome = "no answer"
	// Answered means that there was one, and InUse that it carries packets.
	Answered Outcome = "answered"
	InUse    Outcome = "in use"
)

// Candidate is an endpoint that may lead to a peer.
type Candidate struct {
	Endpoint netip.AddrPort
	Outcome  Outcome
	// Why is why it was not tried; empty if no reason but time.
	Why Reason
	// Learnt is set where the peer has sent probes from it without having published it.
	Learnt bool
	// TriedAt is when the last probe was sent to it; zero for never, and while it is in use.
	TriedAt time.Time
	// RTT is the round-trip time; zero without an answer, and while it is in use.
	RTT time.Duration
}

// Report is what was done to find a path to a peer.
type Report struct {
	// Path is the path in use; its peer is zero for none.
	Path mesh.Path
	// Own and Peer are the kinds of NAT in front of both ends.
	Own, Peer  mesh.NAT
	Candidates []Candidate
	// Why is why there is no path.
	Why Reason
	// Next is when the next round begins; zero where none is awaited.
	Next time.Time
}

// Report returns what was done to find a path to a peer.
func (p *Prober) Report(key mesh.Key) Report {
	t := p.targets[key]
	if t == nil {
		return Report{Own: p.self.NAT, Why: NoAgent}
	}
	r := Report{Own: p.self.NAT, Peer: t.peer.NAT, Why: p.why(t)}
	if t.path == nil {
		r.Next = t.retryAt
	} else {
		r.Path = p.pathOf(t)
	}
	for _, c := range t.candidates {
		shown := Candidate{Endpoint: c.endpoint, Learnt: c.learnt, Outcome: c.outcome(t)}
		if shown.Outcome == NotTried {
			shown.Why = p.refused(t, c)
		}
		if shown.Outcome != InUse {
			shown.TriedAt = c.triedAt
		}
		if shown.Outcome == Answered {
			shown.RTT = c.rtt
		}
		r.Candidates = append(r.Candidates, shown)
	}
	return r
}

func (c *candidate) outcome(t *target) Outcome {
	switch {
	case c == t.path:
		return InUse
	case c.answered:
		return Answered
	case c.left > 0:
		return Tried
	case c.tried:
		return Silent
	default:
		return NotTried
	}
}

// why returns why there is no path to a peer.
func (p *Prober) why(t *target) Reason {
	tried := slices.ContainsFunc(t.candidates, func(c *candidate) bool { return p.refused(t, c) == "" })
	switch {
	case t.path != nil:
		return ""
	case len(t.candidates) == 0:
		return NoEndpoints
	case !tried:
		return BothDependent
	case t.secret == nil || t.waiting:
		return Waiting
	case t.active:
		return Probing
	default:
		return p.whyByKind(t)
	}
}

// whyByKind is why no candidate has answered, by the kinds of NAT in front of both ends.
func (p *Prober) whyByKind(t *target) Reason {
	own, there := p.self.NAT, t.peer.NAT
	switch {
	case own == mesh.NATDependent && there == mesh.NATDependent:
		return BothDependent
	case own == mesh.NATUnknown && !p.self.Heard && len(p.Proven()) == 0:
		return Blocked
	case own == mesh.NATUnknown || there == mesh.NATUnknown:
		return NoAnswer
	case own == mesh.NATDependent || there == mesh.NATDependent:
		return OneDependent
	default:
		return NoAnswer
	}
}
