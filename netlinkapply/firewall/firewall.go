package firewall

import (
	"errors"
	"fmt"
	"os"

	"github.com/google/nftables"
	"github.com/google/nftables/userdata"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

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

// Observe reads the table of that name. The Firewall is zero if there is none.
func Observe(name string) (state.Firewall, error) {
	var firewall state.Firewall
	conn, err := nft()
	if err != nil {
		return firewall, err
	}
	t, err := conn.ListTableOfFamily(name, nftables.TableFamilyINet)
	if errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL) {
		return firewall, fmt.Errorf("this kernel has no nftables, which sends packets into the tunnel: load the module with `modprobe nf_tables` (%w)", err)
	}
	if errors.Is(err, unix.ENOENT) || errors.Is(err, os.ErrNotExist) {
		return firewall, nil
	}
	if err != nil {
		return firewall, err
	}
	firewall.Table = t.Name
	if firewall.Chains, err = observeChains(conn, t); err != nil {
		return firewall, err
	}
	for _, f := range state.Families {
		networks, err := readSet(conn, t, f)
		if err != nil {
			return firewall, err
		}
		firewall.Networks = append(firewall.Networks, networks...)
	}
	return firewall, nil
}

func observeChains(conn *nftables.Conn, t *nftables.Table) ([]state.Chain, error) {
	chains, err := conn.ListChainsOfTableFamily(nftables.TableFamilyINet)
	if err != nil {
		return nil, fmt.Errorf("list chains: %w", err)
	}
	var out []state.Chain
	for _, c := range chains {
		if c.Table.Name != t.Name {
			continue
		}
		chain := state.Chain{Name: c.Name, Type: string(c.Type), Hook: hookName(c.Hooknum)}
		if c.Priority != nil {
			chain.Priority = int(*c.Priority)
		}
		rules, err := conn.GetRules(t, c)
		if err != nil {
			return nil, fmt.Errorf("list the rules of %s: %w", c.Name, err)
		}
		for _, r := range rules {
			chain.Statements = append(chain.Statements, recognize(r))
		}
		out = append(out, chain)
	}
	return out, nil
}

// hooks are the hooks of family inet by the names of nft(8).
var hooks = map[string]*nftables.ChainHook{
	"prerouting": nftables.ChainHookPrerouting,
	"output":     nftables.ChainHookOutput,
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

// Apply makes, replaces or removes the table in one transaction, so that no packet
// passes an incomplete one.
func Apply(c state.FirewallChange) error {
	conn, err := nft()
	if err != nil {
		return err
	}
	deleted := c.Action() == state.Delete
	firewall := c.New
	if deleted {
		firewall = c.Old
	}
	t := table(firewall.Table)
	// Deleting a table that does not exist fails; adding one that exists does nothing.
	conn.AddTable(t)
	conn.DelTable(t)
	if deleted {
		return conn.Flush()
	}
	t = conn.AddTable(t)
	for _, f := range state.Families {
		if err := conn.AddSet(networksSet(t, f), nil); err != nil {
			return err
		}
	}
	err = perChunk(firewall.Networks, func(f state.Family, all []nftables.SetElement) error {
		return conn.SetAddElements(networksSet(t, f), all)
	})
	if err != nil {
		return err
	}
	for _, chain := range firewall.Chains {
		if err := addChain(conn, t, chain); err != nil {
			return err
		}
	}
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("write the nftables table: %w", explainNftables(err))
	}
	return verify(conn, t, firewall.Networks)
}

// Rehearse tries a new table without its networks, so that a kernel without some part of
// nftables refuses it before anything else is changed. The last message of the transaction
// always fails, so that the kernel rolls the others back.
func Rehearse(firewall state.Firewall) error {
	conn, err := nft()
	if err != nil {
		return err
	}
	t := conn.AddTable(table(firewall.Table))
	for _, f := range state.Families {
		if err := conn.AddSet(networksSet(t, f), nil); err != nil {
			return err
		}
	}
	for _, chain := range firewall.Chains {
		if err := addChain(conn, t, chain); err != nil {
			return err
		}
	}
	conn.CreateTable(t)
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
		return fmt.Errorf("this kernel's nftables has no connection tracking: load the module with `modprobe nft_ct` (%w)", unix.ENOENT)
	}
	return err
}

func addChain(conn *nftables.Conn, t *nftables.Table, chain state.Chain) error {
	c := conn.AddChain(&nftables.Chain{
		Table:    t,
		Name:     chain.Name,
		Type:     nftables.ChainType(chain.Type),
		Hooknum:  hooks[chain.Hook],
		Priority: nftables.ChainPriorityRef(nftables.ChainPriority(chain.Priority)),
	})
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
