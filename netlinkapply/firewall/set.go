package firewall

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"

	"github.com/google/nftables"
	"go4.org/netipx"
	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/reconciler/state"
)

// setChunk is the number of networks in a message. From about 2,000 on, a message overflows
// a 16-bit length, and the kernel stores only a part of it without an error.
const setChunk = 500

// ApplyNetworks adds and removes networks in one transaction.
func (t *Tables) ApplyNetworks(n state.NetworksChange) error {
	return t.use(func(conn *nftables.Conn) error { return applyNetworks(conn, n) })
}

func applyNetworks(conn *nftables.Conn, n state.NetworksChange) error {
	for _, name := range []string{n.Table, n.Guard} {
		if name == "" {
			continue
		}
		if err := changeNetworks(conn, table(name), n.Added, n.Removed); err != nil {
			return err
		}
	}
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("change the routed networks: %w", err)
	}
	return nil
}

// changeNetworks adds networks to the sets of a table and removes others.
func changeNetworks(conn *nftables.Conn, t *nftables.Table, added, removed []netip.Prefix) error {
	err := perChunk(removed, func(f state.Family, all []nftables.SetElement) error {
		return conn.SetDeleteElements(networksSet(t, f), all)
	})
	if err != nil {
		return err
	}
	return perChunk(added, func(f state.Family, all []nftables.SetElement) error {
		return conn.SetAddElements(networksSet(t, f), all)
	})
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
