package firewall

import (
	"fmt"
	"slices"
	"time"

	"github.com/google/nftables"

	"github.com/spanmesh/span/reconciler/state"
)

// maxAge is how long a reading holds at most. A module that is removed and loaded again counts
// its generations from the start.
const maxAge = 10 * time.Minute

// Reader reads the tables. It reads them anew only when they may have changed. Its zero value is
// ready for use. It is for one goroutine.
type Reader struct{ last reading }

// reading is what a Reader has read last.
type reading struct {
	// generation is that of nftables before and after the reading; 0 if it changed or is unknown.
	generation uint32
	scope      state.Scope
	at         time.Time
	firewall   state.Firewall
	neighbours []state.Neighbour
	// counted are the chains with rules that count what they drop.
	counted []countedChain
}

// countedChain is a chain in a table, and the operations of its rules.
type countedChain struct {
	table, name string
	statements  []state.Statement
}

// holds reports whether a reading is still that of a scope, at the present generation.
func (l *reading) holds(generation uint32, scope state.Scope, now time.Time) bool {
	age := now.Sub(l.at)
	return generation != 0 && l.generation == generation && l.scope == scope && age >= 0 && age < maxAge
}

// share returns the firewall and the neighbours, with lists that their user may sort. The networks
// and the statements must not be changed.
func (l *reading) share() (state.Firewall, []state.Neighbour) {
	f := l.firewall
	f.Chains, f.Guard.Chains, f.Former = slices.Clone(f.Chains), slices.Clone(f.Guard.Chains), slices.Clone(f.Former)
	return f, slices.Clone(l.neighbours)
}

// Observe returns the tables in scope, and the other meshes of the machine. The Firewall is zero
// if there is no table. While the kernel's generation is that of the last reading, only the
// counters are read: the sets may have thousands of networks.
func (r *Reader) Observe(scope state.Scope, now time.Time) (state.Firewall, []state.Neighbour, error) {
	g, err := openGenerations()
	if err != nil {
		return state.Firewall{}, nil, err
	}
	defer g.close()
	// Without nftables, this fails, and the full reading returns why.
	before, _ := g.now()
	if r.last.holds(before, scope, now) {
		dropped, err := readDropped(r.last.counted)
		after, _ := g.now()
		if err == nil && after == before {
			r.last.firewall.Dropped = dropped
			firewall, neighbours := r.last.share()
			return firewall, neighbours, nil
		}
		before = after
	}
	r.last = reading{}
	read, err := readTables(scope)
	if err != nil {
		return state.Firewall{}, nil, err
	}
	if after, _ := g.now(); after == before {
		read.generation = before
	}
	read.scope, read.at = scope, now
	r.last = read
	firewall, neighbours := r.last.share()
	return firewall, neighbours, nil
}

// readDropped reads the counters of chains whose rules are known.
func readDropped(chains []countedChain) (state.Dropped, error) {
	var dropped state.Dropped
	conn, err := nft()
	if err != nil {
		return dropped, err
	}
	for _, c := range chains {
		rules, err := conn.GetRules(table(c.table), &nftables.Chain{Name: c.name})
		if err != nil {
			return dropped, fmt.Errorf("read the counters of %s in %s: %w", c.name, c.table, err)
		}
		if len(rules) != len(c.statements) {
			return dropped, fmt.Errorf("%s in %s has %d rules, and had %d", c.name, c.table, len(rules), len(c.statements))
		}
		for i, rule := range rules {
			if counter := counterIn(rule); counter != nil {
				dropped.Add(c.statements[i].Op, counter.Packets)
			}
		}
	}
	return dropped, nil
}

// isDrop reports whether state.Dropped has what a rule of an operation drops.
func isDrop(op state.Op) bool {
	var dropped state.Dropped
	dropped.Add(op, 1)
	return dropped != state.Dropped{}
}
