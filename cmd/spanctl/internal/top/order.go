package top

import (
	"cmp"
	"slices"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
)

// order is what the peers are sorted by: what needs attention comes first.
type order int

const (
	byName order = iota
	byState
	byRTT
	byLoss
	byTraffic
	byHandshake
	orders
)

func (o order) next() order { return (o + 1) % orders }

func (o order) String() string {
	return [...]string{byName: "name", byState: "state", byRTT: "RTT", byLoss: "loss", byTraffic: "traffic", byHandshake: "handshake"}[o]
}

// stateRanks are the states in the order of byState.
var stateRanks = map[string]int{"down": 0, "unknown": 1, "up": 2}

// compare returns the order of two peers; 0 where their names decide.
func (o order) compare(d *data, a, b *agentpb.Peer) int {
	switch o {
	case byState:
		return cmp.Compare(stateRanks[a.GetState()], stateRanks[b.GetState()])
	case byRTT:
		return cmp.Compare(b.GetRttSeconds(), a.GetRttSeconds())
	case byLoss:
		return cmp.Compare(b.GetLoss(), a.GetLoss())
	case byTraffic:
		r, s := d.rates[a.GetPublicKey()], d.rates[b.GetPublicKey()]
		return cmp.Compare(s.received+s.sent, r.received+r.sent)
	case byHandshake:
		return a.GetLastHandshake().AsTime().Compare(b.GetLastHandshake().AsTime())
	default:
		return 0
	}
}

// peers returns the peers that the filter takes, sorted.
func (m *Model) peers() []*agentpb.Peer {
	d := m.data()
	var rows []*agentpb.Peer
	for _, p := range d.health.GetPeers() {
		if m.matches(p.GetName(), p.GetState(), p.GetPath(), p.GetPublicKey()) {
			rows = append(rows, p)
		}
	}
	slices.SortStableFunc(rows, func(a, b *agentpb.Peer) int {
		return cmp.Or(m.sort.compare(d, a, b), cmp.Compare(a.GetName(), b.GetName()), cmp.Compare(a.GetPublicKey(), b.GetPublicKey()))
	})
	return rows
}

// chosen returns the index of the chosen peer; 0 where it is not shown.
func (m *Model) chosen(rows []*agentpb.Peer) int {
	return max(slices.IndexFunc(rows, func(p *agentpb.Peer) bool { return p.GetPublicKey() == m.cursor }), 0)
}
