package firewall

import (
	"errors"
	"fmt"
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

// nft opens a connection, which uses a socket for each operation without other options. Setting
// the buffers may fail: above the system's limit it needs CAP_NET_ADMIN in the initial user
// namespace. Only very large tables need them.
func nft(options ...nftables.ConnOption) (*nftables.Conn, error) {
	conn, err := nftables.New(append(options, nftables.WithSockOptions(func(c *netlink.Conn) error {
		_ = c.SetWriteBuffer(socketBuffer)
		_ = c.SetReadBuffer(socketBuffer)
		return nil
	}))...)
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

// hooks are the hooks of family inet by the names of nft(8).
var hooks = map[string]*nftables.ChainHook{
	"prerouting":  nftables.ChainHookPrerouting,
	"input":       nftables.ChainHookInput,
	"forward":     nftables.ChainHookForward,
	"output":      nftables.ChainHookOutput,
	"postrouting": nftables.ChainHookPostrouting,
}

// Apply makes, changes or removes the tables. Both change in one transaction. What is in a table
// already stays. If a table is replaced as a whole, a packet may pass between the old chain,
// which is empty by then, and the new one. For the same reason, tables of former names go in a
// transaction of their own, once the others stand.
func (t *Tables) Apply(c state.FirewallChange) error {
	return t.use(func(conn *nftables.Conn) error { return apply(conn, c) })
}

func apply(conn *nftables.Conn, c state.FirewallChange) error {
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
// names the missing module. Those of connection tracking are in a module of their own, and in old
// kernels so are counters.
func explainNftables(err error) error {
	if errors.Is(err, unix.ENOENT) {
		return &condition.Error{Condition: condition.Condition{
			Code:   condition.NoNftables,
			Cause:  "this kernel's nftables has no connection tracking, or, before Linux 5.18, no counters",
			Remedy: "load the modules with `modprobe nft_ct` and `modprobe nft_counter`, outside of the container if this is one, or boot a kernel that has them",
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
