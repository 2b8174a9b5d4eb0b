package firewall

import (
	"fmt"
	"io/fs"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"github.com/spanmesh/span/reconciler/reflection"
	"github.com/spanmesh/span/reconciler/state"
)

// Reflections reads the counters of a UDP port in the table of the link's mesh. The error is
// fs.ErrNotExist if there are none: no table, one of an earlier version, or another port.
func Reflections(link string, port int) (reflection.Counts, error) {
	var counts reflection.Counts
	conn, err := nft()
	if err != nil {
		return counts, err
	}
	t := table(state.TableName(link))
	for name, to := range map[string]*uint64{state.ArrivedChain: &counts.Arrived, state.AcceptedChain: &counts.Accepted} {
		rules, err := conn.GetRules(t, &nftables.Chain{Table: t, Name: name})
		if err != nil {
			return counts, fmt.Errorf("read the counters of %s in %s: %w", name, t.Name, err)
		}
		counter := counterOf(rules, port)
		if counter == nil {
			return counts, fmt.Errorf("read the counters of %s in %s: %w", name, t.Name, fs.ErrNotExist)
		}
		*to = counter.Packets
	}
	return counts, nil
}

// counterOf returns the counter of the rule that counts reflections to a port; nil if there is none.
func counterOf(rules []*nftables.Rule, port int) *expr.Counter {
	for _, rule := range rules {
		if recognize(rule) != (state.Statement{Op: state.CountReflections, Port: port}) {
			continue
		}
		return counterIn(rule)
	}
	return nil
}
