package firewall

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/userdata"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/state"
)

// socketBuffer in bytes holds a transaction of more than 10,000 networks. With the default
// size, such a transaction fails with "message too long".
const socketBuffer = 32 << 20

// nft opens a connection for one use. Setting the buffers may fail: above the system's limit
// it needs CAP_NET_ADMIN in the initial user namespace. Only very large tables need them.
func nft() (*nftables.Conn, error) {
	conn, err := nftables.New(nftables.WithSockOptions(func(c *netlink.Conn) error {
		_ = c.SetWriteBuffer(socketBuffer)
		_ = c.SetReadBuffer(socketBuffer)
		return nil
	}))
	if err != nil {
		return nil, fmt.Errorf("open a netlink socket for nftables: %w", err)
	}
	return conn, nil
}

func table(name string) *nftables.Table {
	return &nftables.Table{Name: name, Family: nftables.TableFamilyINet}
}

// Exists reports whether there is a table with the name (family inet).
func Exists(name string) (bool, error) {
	conn, err := nft()
	if err != nil {
		return false, err
	}
	tables, err := conn.ListTablesOfFamily(nftables.TableFamilyINet)
	if err != nil {
		return false, fmt.Errorf("list tables: %w", err)
	}
	return slices.ContainsFunc(tables, func(t *nftables.Table) bool { return t.Name == name }), nil
}

// Observe reads the tables in scope, and the other meshes of the machine. The Firewall is zero
// if there is no table.
func Observe(scope state.Scope) (state.Firewall, []state.Neighbour, error) {
	var firewall state.Firewall
	conn, err := nft()
	if err != nil {
		return firewall, nil, err
	}
	tables, err := conn.ListTablesOfFamily(nftables.TableFamilyINet)
	if errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL) {
		return firewall, nil, &condition.Error{Condition: condition.Condition{
			Code:   condition.NoNftables,
			Cause:  "this kernel has no nftables, which sends packets into the tunnel",
			Remedy: "load the module with `modprobe nf_tables`, outside of the container if this is one, or boot a kernel that has it",
		}, Err: err}
	}
	if err != nil {
		return firewall, nil, fmt.Errorf("list tables: %w", err)
	}
	r := reader{conn: conn, scope: scope}
	if r.chains, err = conn.ListChainsOfTableFamily(nftables.TableFamilyINet); err != nil {
		return firewall, nil, fmt.Errorf("list chains: %w", err)
	}
	for _, t := range tables {
		if err := r.read(t); err != nil {
			return firewall, nil, err
		}
	}
	return r.firewall, r.neighbours, nil
}

// reader collects what tables contain.
type reader struct {
	conn *nftables.Conn
	// chains are those of all tables.
	chains     []*nftables.Chain
	scope      state.Scope
	firewall   state.Firewall
	neighbours []state.Neighbour
}

// read reads a table, if it is of spanctl.
func (r *reader) read(t *nftables.Table) (err error) {
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

// content returns the chains of a table and its networks.
func (r *reader) content(t *nftables.Table) ([]state.Chain, []netip.Prefix, error) {
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
func (r *reader) readFormer(t *nftables.Table) error {
	return r.comments(t, func(s state.Statement) bool {
		ours := s.Op == state.DropLoop && (s.Link == r.scope.LinkName || s.Link == r.scope.FormerLink)
		if ours {
			r.firewall.Former = append(r.firewall.Former, t.Name)
		}
		return ours
	})
}

// readNeighbour reads a table of another mesh. Its first rule that accepts a mark has the mark of
// that mesh.
func (r *reader) readNeighbour(t *nftables.Table, link string) error {
	known := func(n state.Neighbour) bool { return n.LinkName == link }
	if slices.ContainsFunc(r.neighbours, known) {
		return nil // from its other table
	}
	return r.comments(t, func(s state.Statement) bool {
		found := s.Op == state.AcceptMark
		if found {
			r.neighbours = append(r.neighbours, state.Neighbour{LinkName: link, Mark: s.Mark, Mask: s.Mask})
		}
		return found
	})
}

// comments calls each for the statements that the comments of a table's rules name, until it
// returns true. The rules may be those of another version.
func (r *reader) comments(t *nftables.Table, each func(state.Statement) bool) error {
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

func (r *reader) observeChains(t *nftables.Table) ([]state.Chain, error) {
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
		for _, rule := range rules {
			chain.Statements = append(chain.Statements, recognize(rule))
		}
		out = append(out, chain)
	}
	return out, nil
}

// hooks are the hooks of family inet by the names of nft(8).
var hooks = map[string]*nftables.ChainHook{
	"prerouting":  nftables.ChainHookPrerouting,
	"input":       nftables.ChainHookInput,
	"output":      nftables.ChainHookOutput,
	"postrouting": nftables.ChainHookPostrouting,
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

// Apply makes, changes or removes the tables. Both change in one transaction. What is in a table
// already stays. If a table is replaced as a whole, a packet may pass between the old chain,
// which is empty by then, and the new one. For the same reason, tables of former names go in a
// transaction of their own, once the others stand.
func Apply(c state.FirewallChange) error {
	conn, err := nft()
	if err != nil {
		return err
	}
	for _, part := range parts(c.Old, c.New) {
		if err := part.change(conn); err != nil {
			return err
		}
	}
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("write the nftables tables: %w", explainNftables(err))
	}
	for _, name := range c.Old.Former {
		remove(conn, name)
	}
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("remove the nftables tables of former names: %w", err)
	}
	if c.Action() == state.Delete {
		return nil
	}
	return errors.Join(verify(conn, table(c.New.Table), c.New.Networks), verify(conn, table(c.New.Guard.Table), c.New.Guard.Networks))
}

// remove adds the deletion of a table to a transaction. Deleting one that does not exist would
// fail; adding one that exists does nothing.
func remove(conn *nftables.Conn, name string) {
	conn.DelTable(conn.AddTable(table(name)))
}

// part is one of the two tables before and after a change.
type part struct{ old, new state.Guard }

func parts(before, after state.Firewall) []part {
	main := func(f state.Firewall) state.Guard {
		return state.Guard{Table: f.Table, Chains: f.Chains, Networks: f.Networks}
	}
	return []part{{main(before), main(after)}, {before.Guard, after.Guard}}
}

// change adds what differs to a transaction.
func (p part) change(conn *nftables.Conn) error {
	before := p.old
	if before.Table != "" && (before.Table != p.new.Table || p.reshaped()) {
		remove(conn, before.Table)
		before = state.Guard{}
	}
	if p.new.Table == "" {
		return nil
	}
	t := conn.AddTable(table(p.new.Table))
	for _, f := range state.Families {
		if err := conn.AddSet(networksSet(t, f), nil); err != nil {
			return err
		}
	}
	if err := changeNetworks(conn, t, state.Missing(p.new.Networks, before.Networks), state.Missing(before.Networks, p.new.Networks)); err != nil {
		return err
	}
	for _, chain := range p.new.Chains {
		if err := changeChain(conn, t, before.Chains, chain); err != nil {
			return err
		}
	}
	return nil
}

// reshaped reports whether a chain has another hook, or one is not ours.
func (p part) reshaped() bool {
	return slices.ContainsFunc(p.old.Chains, func(old state.Chain) bool {
		return !slices.ContainsFunc(p.new.Chains, func(c state.Chain) bool {
			return c.Name == old.Name && c.Type == old.Type && c.Hook == old.Hook && c.Priority == old.Priority
		})
	})
}

// Rehearse tries a new table without its networks, so that a kernel without some part of
// nftables refuses it before anything else is changed. The last message of the transaction
// always fails, so that the kernel rolls the others back.
func Rehearse(firewall state.Firewall) error {
	conn, err := nft()
	if err != nil {
		return err
	}
	firewall.Networks, firewall.Guard.Networks = nil, nil
	for _, part := range parts(state.Firewall{}, firewall) {
		if err := part.change(conn); err != nil {
			return err
		}
	}
	conn.CreateTable(table(firewall.Table))
	if err := without(conn.Flush(), unix.EEXIST); err != nil {
		return fmt.Errorf("try the nftables table: %w", explainNftables(err))
	}
	return nil
}

// without returns the errors of a transaction without the expected one. They are joined, and
// may be nested.
func without(err error, expected unix.Errno) error {
	var joined interface{ Unwrap() []error }
	if !errors.As(err, &joined) {
		if errors.Is(err, expected) {
			return nil
		}
		return err
	}
	var others error
	for _, e := range joined.Unwrap() {
		others = errors.Join(others, without(e, expected))
	}
	return others
}

// explainNftables replaces the errors of unknown expressions, one for each rule, by one that
// names the missing module. Only those of connection tracking are in a module of their own.
func explainNftables(err error) error {
	if errors.Is(err, unix.ENOENT) {
		return &condition.Error{Condition: condition.Condition{
			Code:   condition.NoNftables,
			Cause:  "this kernel's nftables has no connection tracking",
			Remedy: "load the module with `modprobe nft_ct`, outside of the container if this is one, or boot a kernel that has it",
		}, Err: unix.ENOENT}
	}
	return err
}

// changeChain makes a chain, or replaces the rules of one that exists.
func changeChain(conn *nftables.Conn, t *nftables.Table, existing []state.Chain, chain state.Chain) error {
	i := slices.IndexFunc(existing, func(c state.Chain) bool { return c.Name == chain.Name })
	if i >= 0 && slices.Equal(existing[i].Statements, chain.Statements) {
		return nil
	}
	c := &nftables.Chain{
		Table:    t,
		Name:     chain.Name,
		Type:     nftables.ChainType(chain.Type),
		Hooknum:  hooks[chain.Hook],
		Priority: nftables.ChainPriorityRef(nftables.ChainPriority(chain.Priority)),
	}
	if i >= 0 {
		conn.FlushChain(c)
	} else {
		c = conn.AddChain(c)
	}
	for _, s := range chain.Statements {
		exprs, err := compile(s)
		if err != nil {
			return err
		}
		conn.AddRule(&nftables.Rule{Table: t, Chain: c, Exprs: exprs,
			UserData: userdata.AppendString(nil, userdata.TypeComment, s.Comment())})
	}
	return nil
}
