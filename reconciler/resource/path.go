package resource

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spanmesh/span/reconciler/mesh"
)

// Paths has what probes beside WireGuard's packets have shown of each peer that answers them, by public
// key.
var Paths = &Type{
	Name:      "Paths",
	Namespace: "kubespan",
	Aliases:   []string{"paths", "path"},
	columns: []column{
		columnOf("LABEL", func(p Path) string { return p.Label }),
		columnOf("ENDPOINT", func(p Path) string {
			if !p.Endpoint.IsValid() {
				return ""
			}
			return p.Endpoint.String()
		}),
		shows("candidates", columnOf("ANSWERED", func(p Path) string {
			answered := 0
			for _, c := range p.Candidates {
				if c.Outcome == CandidateAnswered || c.Outcome == CandidateInUse {
					answered++
				}
			}
			return fmt.Sprintf("%d of %d", answered, len(p.Candidates))
		})),
		columnOf("WHY", func(p Path) string { return p.Why }),
		shows("candidates", wide(columnOf("CANDIDATES", Path.outcomes))),
		wide(columnOf("OWN NAT", func(p Path) string { return string(p.OwnNAT) })),
		wide(columnOf("PEER NAT", func(p Path) string { return string(p.PeerNAT) })),
	},
	names:  namesOf(func(p Path) []string { return []string{p.Label} }),
	sample: Path{},
}

// Path is the spec of Paths.
type Path struct {
	// Label is what the peer calls itself.
	Label string `json:"label"`
	// Endpoint is where the peer answers probes; empty for nowhere.
	Endpoint netip.AddrPort `json:"endpoint,omitzero"`
	// Punched is set where the NATs of both ends had to be opened for it.
	Punched bool `json:"punched,omitempty"`
	// Why is why there is no direct path; empty if there is one.
	Why string `json:"why,omitempty"`
	// OwnNAT is the kind of NAT in front of this machine, as in HealthStates.
	OwnNAT mesh.NAT `json:"ownNAT,omitempty"`
	// PeerNAT is the kind of NAT in front of the peer, as it has published it.
	PeerNAT mesh.NAT `json:"peerNAT,omitempty"`
	// NextRound is when the endpoints are probed next; empty where that is not awaited.
	NextRound time.Time `json:"nextRound,omitzero"`
	// Candidates are the endpoints that may lead to the peer.
	Candidates []PathCandidate `json:"candidates"`
}

// maxShown is how many candidates a cell of a table has.
const maxShown = 8

// outcomes returns the candidates with what became of them, such as "203.0.113.9:51820 no answer".
func (p Path) outcomes() string {
	var shown []string
	for i, c := range p.Candidates {
		if i == maxShown {
			shown = append(shown, fmt.Sprintf("%d more", len(p.Candidates)-i))
			break
		}
		text := c.Endpoint.String() + " " + c.Outcome
		if c.Why != "" {
			text += " (" + c.Why + ")"
		}
		shown = append(shown, text)
	}
	return strings.Join(shown, ", ")
}

// Outcomes of a candidate, as package path names them.
const (
	CandidateSilent   = "no answer"
	CandidateAnswered = "answered"
	CandidateInUse    = "in use"
)

// PathCandidate is an endpoint that may lead to a peer.
type PathCandidate struct {
	// Endpoint is the address and port.
	Endpoint netip.AddrPort `json:"endpoint"`
	// Outcome is "not tried", "probing", "no answer", "answered" or "in use".
	Outcome string `json:"outcome"`
	// Why is why it is not tried; empty if it only has not been its turn.
	Why string `json:"why,omitempty"`
	// Learnt is set where the peer has sent probes from it without having published it.
	Learnt bool `json:"learnt,omitempty"`
	// TriedAt is when the last probe was sent to it; empty for never, and while it is in use.
	TriedAt time.Time `json:"triedAt,omitzero"`
	// RTT is the round-trip time of the probe that it has answered; empty while it is in use.
	RTT Duration `json:"rtt,omitzero"`
}

// Equal reports whether other is an equal spec.
func (p Path) Equal(other any) bool {
	o, ok := other.(Path)
	return ok && p.Label == o.Label && p.Endpoint == o.Endpoint && p.Punched == o.Punched && p.Why == o.Why && p.OwnNAT == o.OwnNAT &&
		p.PeerNAT == o.PeerNAT && p.NextRound.Equal(o.NextRound) &&
		slices.EqualFunc(p.Candidates, o.Candidates, func(a, b PathCandidate) bool {
			sameTime := a.TriedAt.Equal(b.TriedAt)
			a.TriedAt, b.TriedAt = time.Time{}, time.Time{}
			return sameTime && a == b
		})
}
