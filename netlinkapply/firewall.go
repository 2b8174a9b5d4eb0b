package netlinkapply

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/userdata"
	"github.com/mdlayher/netlink"
	"go4.org/netipx"
	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/reconciler/state"
)

const (
	// setChunk is the number of networks in a message. From about 2,000 on, a message overflows
	// a 16-bit length, and the kernel stores only a part of it without an error.
	setChunk = 500
	// socketBuffer in bytes holds a transaction of more than 10,000 networks. With the default
	// size, such a transaction fails with "message too long".
	socketBuffer = 32 << 20
)

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

func (k *Kernel) observeFirewall(s *state.State, scope state.Scope) error {
	conn, err := nft()
	if err != nil {
		return err
	}
	t, err := conn.ListTableOfFamily(scope.FirewallTable, nftables.TableFamilyINet)
	if errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("this kernel has no nftables, which sends packets into the tunnel: load the module with `modprobe nf_tables` (%w)", err)
	}
	if errors.Is(err, unix.ENOENT) || errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	s.Firewall.Table = t.Name
	if err := observeChains(conn, t, &s.Firewall); err != nil {
		return err
	}
	for _, f := range state.Families {
		networks, err := readSet(conn, t, f)
		if err != nil {
			return err
		}
		s.Firewall.Networks = append(s.Firewall.Networks, networks...)
	}
	return nil
}

func observeChains(conn *nftables.Conn, t *nftables.Table, firewall *state.Firewall) error {
	chains, err := conn.ListChainsOfTableFamily(nftables.TableFamilyINet)
	if err != nil {
		return fmt.Errorf("list chains: %w", err)
	}
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
			return fmt.Errorf("list the rules of %s: %w", c.Name, err)
		}
		for _, r := range rules {
			chain.Statements = append(chain.Statements, recognize(r))
		}
		firewall.Chains = append(firewall.Chains, chain)
	}
	return nil
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

// networksSet returns the set of routed networks of a family.
func networksSet(t *nftables.Table, f state.Family) *nftables.Set {
	keyType := nftables.TypeIPAddr
	if f == state.IPv6 {
		keyType = nftables.TypeIP6Addr
	}
	return &nftables.Set{Table: t, Name: setNames[f], KeyType: keyType, Interval: true}
}

// readSet reads the networks of a family. A range that is not a network, made by another
// program, is read as the networks that it covers.
func readSet(conn *nftables.Conn, t *nftables.Table, f state.Family) ([]netip.Prefix, error) {
	elements, err := conn.GetSetElements(networksSet(t, f))
	if errors.Is(err, unix.ENOENT) || errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the set %s: %w", setNames[f], err)
	}
	slices.SortFunc(elements, func(a, b nftables.SetElement) int {
		// A range may begin at the key where another ends; the end sorts first.
		if order := bytes.Compare(a.Key, b.Key); order != 0 || a.IntervalEnd == b.IntervalEnd {
			return order
		}
		if a.IntervalEnd {
			return -1
		}
		return 1
	})
	var networks []netip.Prefix
	var from netip.Addr
	for _, e := range elements {
		key, ok := netip.AddrFromSlice(e.Key)
		switch {
		case !ok:
			return nil, fmt.Errorf("the set %s has an element of %d bytes", setNames[f], len(e.Key))
		case !e.IntervalEnd:
			from = key
		case from.IsValid():
			networks = netipx.IPRangeFrom(from, key.Prev()).AppendPrefixes(networks)
			from = netip.Addr{}
		}
	}
	if from.IsValid() {
		networks = netipx.IPRangeFrom(from, lastOf(f)).AppendPrefixes(networks)
	}
	return networks, nil
}

func lastOf(f state.Family) netip.Addr {
	return netipx.PrefixLastIP(f.Everything())
}

// elements returns the two ends of a network; the second is the address after its last. A
// network at the end of the address space has no second one.
func elements(network netip.Prefix) []nftables.SetElement {
	out := []nftables.SetElement{{Key: network.Addr().AsSlice()}}
	if past := netipx.PrefixLastIP(network).Next(); past.IsValid() {
		out = append(out, nftables.SetElement{Key: past.AsSlice(), IntervalEnd: true})
	}
	return out
}

// perChunk calls f for every setChunk networks of a family, with their elements.
func perChunk(networks []netip.Prefix, f func(state.Family, []nftables.SetElement) error) error {
	for _, fam := range state.Families {
		var ofFamily []netip.Prefix
		for _, n := range networks {
			if state.FamilyOf(n.Addr()) == fam {
				ofFamily = append(ofFamily, n)
			}
		}
		for chunk := range slices.Chunk(ofFamily, setChunk) {
			var all []nftables.SetElement
			for _, n := range chunk {
				all = append(all, elements(n)...)
			}
			if err := f(fam, all); err != nil {
				return err
			}
		}
	}
	return nil
}

// changeFirewall makes, replaces or removes the table in one transaction, so that no packet
// passes an incomplete one.
func (k *Kernel) changeFirewall(c state.FirewallChange) error {
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

// rehearse tries a new table without its networks, so that a kernel without some part of
// nftables refuses it before anything else is changed. The last message of the transaction
// always fails, so that the kernel rolls the others back.
func rehearse(firewall state.Firewall) error {
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

// verify reads a large set back: networks that did not fit in a message are lost without an
// error (see setChunk).
func verify(conn *nftables.Conn, t *nftables.Table, wanted []netip.Prefix) error {
	if len(wanted) <= setChunk {
		return nil
	}
	count := 0
	for _, f := range state.Families {
		networks, err := readSet(conn, t, f)
		if err != nil {
			return err
		}
		count += len(networks)
	}
	if count != len(wanted) {
		return fmt.Errorf("nftables table %s: %d of %d networks are stored", t.Name, count, len(wanted))
	}
	return nil
}

// changeNetworks adds and removes networks in one transaction.
func (k *Kernel) changeNetworks(n state.NetworksChange) error {
	conn, err := nft()
	if err != nil {
		return err
	}
	t := table(n.Table)
	err = perChunk(n.Removed, func(f state.Family, all []nftables.SetElement) error {
		return conn.SetDeleteElements(networksSet(t, f), all)
	})
	if err != nil {
		return err
	}
	err = perChunk(n.Added, func(f state.Family, all []nftables.SetElement) error {
		return conn.SetAddElements(networksSet(t, f), all)
	})
	if err != nil {
		return err
	}
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("change the routed networks: %w", err)
	}
	return nil
}
