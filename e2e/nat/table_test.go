package nat

import (
	"testing"

	"github.com/spanmesh/span/e2e/lab"
)

// way is how two machines meet, or how one of them reaches the other.
type way string

// The ways.
const (
	// none: they do not meet.
	none way = ""
	// direct: one end lets in whoever sends to it.
	direct way = "direct"
	// punched: between NATs or firewalls that both let in only whom their machine has sent to.
	punched way = "punched"
	// relayed: a blind relay forwards by UDP.
	relayed way = "relayed"
	// overTLS: one end at least reaches the relay by a stream, since no UDP comes out.
	overTLS way = "TLS"
)

// grid is how machines of two kinds are to meet, in the order of lab.Kinds: directly (D), punched (P),
// relayed (R) or over TLS (T).
var grid = map[lab.Kind]string{
	lab.NoNAT:             "DDDDDDDDTRD",
	lab.FullCone:          ".DDDDDDDTRD",
	lab.AddressRestricted: "..PPPPPPTRP",
	lab.PortRestricted:    "...PRPPPTRP",
	lab.PerDestination:    "....RRRRTRR",
	lab.DoubleNAT:         ".....PPPTRP",
	lab.Hairpin:           "......PPTRP",
	lab.NoHairpin:         ".......RTRP",
	lab.UDPBlocked:        "........TTT",
	lab.IPv6Only:          ".........DR",
	lab.AnswersOnly:       "..........P",
}

var letters = map[byte]way{'D': direct, 'P': punched, 'R': relayed, 'T': overTLS}

// wanted returns how machines of two kinds are to meet.
func wanted(a, b lab.Kind) way { return letters[grid[min(a, b)][max(a, b)]] }

// met returns how two machines met, by how each end reaches the other. It is none unless both agree.
func met(a, b lab.Kind, there, back way) way {
	switch {
	case there == none || back == none:
		return none
	case there == direct && back == direct && !behaviours[a].unasked && !behaviours[b].unasked:
		return punched
	case there == back:
		return there
	case there != direct && back != direct:
		return overTLS // one end of both
	default:
		return none // one end is behind: its news is under way
	}
}

// TestGridIsWhole has no cell of the table be empty, and each follow from what its kinds do.
func TestGridIsWhole(t *testing.T) {
	for _, a := range lab.Kinds {
		for _, b := range lab.Kinds[a:] {
			if got, want := wanted(a, b), follows(a, b); got != want {
				t.Errorf("%v and %v: the table has %q, and by what they do it is %q", a, b, got, want)
			}
		}
	}
}

// follows returns how machines meet by the behaviour of their NATs (RFC 4787).
func follows(a, b lab.Kind) way {
	one, other := behaviours[a], behaviours[b]
	switch {
	case !one.udp || !other.udp:
		return overTLS
	case (a == lab.IPv6Only) != (b == lab.IPv6Only), a == lab.NoHairpin && b == lab.NoHairpin:
		return relayed // nothing leads from one to the other
	case one.unasked || other.unasked:
		return direct
	case one.samePort && other.samePort, one.samePort && one.otherPorts, other.samePort && other.otherPorts:
		return punched
	default:
		return relayed
	}
}

func TestMet(t *testing.T) {
	for _, c := range []struct {
		a, b        lab.Kind
		there, back way
		want        way
	}{
		{lab.NoNAT, lab.PerDestination, direct, direct, direct},
		{lab.PortRestricted, lab.AnswersOnly, direct, direct, punched},
		{lab.PortRestricted, lab.AnswersOnly, direct, relayed, none},
		{lab.PortRestricted, lab.AnswersOnly, direct, none, none},
		{lab.PerDestination, lab.PerDestination, relayed, relayed, relayed},
		{lab.UDPBlocked, lab.PerDestination, overTLS, relayed, overTLS},
		{lab.UDPBlocked, lab.UDPBlocked, overTLS, overTLS, overTLS},
	} {
		if got := met(c.a, c.b, c.there, c.back); got != c.want {
			t.Errorf("%v and %v, %q and %q: %q, want %q", c.a, c.b, c.there, c.back, got, c.want)
		}
	}
}
