package firewall

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/state"
)

// readTables reads the tables in scope, and those of other meshes.
func readTables(conn *nftables.Conn, scope state.Scope) (reading, error) {
	tables, err := conn.ListTablesOfFamily(nftables.TableFamilyINet)
	if err != nil {
		return reading{}, explainMissing(fmt.Errorf("list tables: %w", err))
	}
	r := collector{conn: conn, scope: scope}
	if r.chains, err = conn.ListChainsOfTableFamily(nftables.TableFamilyINet); err != nil {
		return reading{}, fmt.Errorf("list chains: %w", err)
	}
	for _, t := range tables {
		if err := r.read(t); err != nil {
			return reading{}, err
		}
	}
	live := state.State{Firewall: r.firewall}
	live.Normalize() // once: its lists are shared
	return reading{firewall: live.Firewall, neighbours: r.neighbours, counted: r.counted}, nil
}

// explainMissing gives the error of a kernel without nftables its condition.
func explainMissing(err error) error {
	if errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL) {
		return &condition.Error{Condition: condition.Condition{
			Code:   condition.NoNftables,
			Cause:  "this kernel has no nftables, which sends packets into the tunnel",
			Remedy: "load the module with `modprobe nf_tables`, outside of the container if this is one, or boot a kernel that has it",
		}, Err: err}
	}
	return err
}

// collector collects what tables contain.
type collector struct {
	conn *nftables.Conn
	// chains are those of all tables.
	chains     []*nftables.Chain
	scope      state.Scope
	firewall   state.Firewall
	neighbours []state.Neighbour
	counted    []countedChain
}

// read reads a table, if it is of spanctl.
func (r *collector) read(t *nftables.Table) (err error) {
	link, ours := state.LinkOfTable(t.Name)
	switch {
	case t.Name == r.scope.FirewallTable:
		r.firewall.Table = t.Name
		r.firewall.Chains, r.firewall.Networks, err = r.content(t)
	case t.Name == r.scope.GuardTable:
		r.firewall.Guard.Table = t.Name
		r.firewall.Guard.Chains, r.firewall.Guard.Networks, err = r.content(t)
	case ours && link == r.scope.FormerLink:
		r.firewall.Former = append(r.firewall.Former, t.Name)
	case ours:
		err = r.readNeighbour(t, link)
	case t.Name == state.FormerTable:
		err = r.readFormer(t)
	}
	return err
}

// content returns the chains of a table and its networks. It adds to what was dropped.
func (r *collector) content(t *nftables.Table) ([]state.Chain, []netip.Prefix, error) {
	chains, err := r.observeChains(t)
	if err != nil {
		return nil, nil, err
	}
	var all []netip.Prefix
	for _, f := range state.Families {
		networks, err := readSet(r.conn, t, f)
		if err != nil {
			return nil, nil, err
		}
		all = append(all, networks...)
	}
	return chains, all, nil
}

// readFormer reads the table of an earlier version. It is of this mesh if a rule names the link.
func (r *collector) readFormer(t *nftables.Table) error {
	return r.comments(t, func(s state.Statement) bool {
		ours := (s.Op == state.DropLoop || s.Op == state.DropOwnLoop) && (s.Link == r.scope.LinkName || s.Link == r.scope.FormerLink)
		if ours {
			r.firewall.Former = append(r.firewall.Former, t.Name)
		}
		return ours
	})
}

// readNeighbour reads a table of another mesh. Its first rule that accepts a mark has the mark of
// that mesh, and its port.
func (r *collector) readNeighbour(t *nftables.Table, link string) error {
	known := func(n state.Neighbour) bool { return n.LinkName == link }
	if slices.ContainsFunc(r.neighbours, known) {
		return nil // from its other table
	}
	return r.comments(t, func(s state.Statement) bool {
		found := s.Op == state.AcceptWireGuard || s.Op == state.AcceptMark
		if found {
			r.neighbours = append(r.neighbours, state.Neighbour{LinkName: link, Mark: s.Mark, Mask: s.Mask, Port: s.Port})
		}
		return found
	})
}

// comments calls each for the statements that the comments of a table's rules name, until it
// returns true. The rules may be those of another version.
func (r *collector) comments(t *nftables.Table, each func(state.Statement) bool) error {
	for _, c := range r.chains {
		if c.Table.Name != t.Name {
			continue
		}
		rules, err := r.conn.GetRules(t, c)
		if err != nil {
			return fmt.Errorf("list the rules of %s in %s: %w", c.Name, t.Name, err)
		}
		for _, rule := range rules {
			if s, err := state.ParseComment(comment(rule.UserData)); err == nil && each(s) {
				return nil
			}
		}
	}
	return nil
}

func (r *collector) observeChains(t *nftables.Table) ([]state.Chain, error) {
	var out []state.Chain
	for _, c := range r.chains {
		if c.Table.Name != t.Name {
			continue
		}
		chain := state.Chain{Name: c.Name, Type: string(c.Type), Hook: hookName(c.Hooknum)}
		if c.Priority != nil {
			chain.Priority = int(*c.Priority)
		}
		rules, err := r.conn.GetRules(t, c)
		if err != nil {
			return nil, fmt.Errorf("list the rules of %s: %w", c.Name, err)
		}
		counts := false
		for _, rule := range rules {
			s := recognize(rule)
			chain.Statements = append(chain.Statements, s)
			if c := counterIn(rule); c != nil {
				r.firewall.Dropped.Add(s.Op, c.Packets)
				counts = counts || isDrop(s.Op)
			}
		}
		if counts {
			r.counted = append(r.counted, countedChain{t.Name, c.Name, chain.Statements})
		}
		out = append(out, chain)
	}
	return out, nil
}

// counterIn returns the counter of a rule; nil if it does not count.
func counterIn(rule *nftables.Rule) *expr.Counter {
	for _, e := range rule.Exprs {
		if c, is := e.(*expr.Counter); is {
			return c
		}
	}
	return nil
}

func hookName(hook *nftables.ChainHook) string {
	if hook == nil {
		return ""
	}
	for name, h := range hooks {
		if *h == *hook {
			return name
		}
	}
	return fmt.Sprintf("number %d", *hook)
}
