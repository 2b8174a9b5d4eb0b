package nat

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/e2e/internal/harness"
	"github.com/spanmesh/span/e2e/lab"
)

// limit is the time within which two machines are to meet as they are meant to. On a machine with
// nothing else to do, a direct path takes some seconds.
const limit = time.Minute

// gridKinds are the kinds that meet each other, with a number of machines each. The guest's one
// processor, which is emulated, has time for a few.
func gridKinds() (kinds []lab.Kind, machines int) {
	if harness.InGuest() {
		return []lab.Kind{lab.NoNAT, lab.PortRestricted, lab.PerDestination, lab.UDPBlocked}, 1
	}
	return lab.Kinds, 2
}

// TestGrid has machines of each kind in one mesh: each kind meets each other and, where there are two of
// a kind, its own.
func TestGrid(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "machines behind each kind of NAT and firewall meet, each kind with each: directly, between punched NATs, by a blind relay or over TLS; nothing is in clear")
	m := newMesh(t, 1)
	kinds, machines := gridKinds()
	for _, kind := range kinds {
		for i := range machines {
			m.add(fmt.Sprintf("%s-%d", strings.NewReplacer(" ", "-", ",", "").Replace(kind.String()), i+1), kind)
		}
	}
	seen := startCapture(t, m.secret, m.spoken)
	m.start()
	m.speak()
	m.await(t)
	m.exchange()
	m.judge(m.await(t))
	seen.end(t)
	for _, machine := range m.machines() {
		if seen.from(t, machine.Node).spoken == 0 {
			t.Errorf("the capture has not seen what %s said in clear", machine.Name)
		}
	}
	for _, p := range m.places {
		if data := seen.from(t, p.Node).wireguard; (data == 0) != (p.kind == lab.UDPBlocked) {
			t.Errorf("the capture has %d packets of WireGuard's data by UDP from %s", data, p.Name)
		}
		p.CLI.AwaitNoDiff()
	}
}

// await waits until all pairs meet as they are meant to, and returns how they did at that moment.
func (m *mesh) await(t *testing.T) map[pair]meeting {
	t.Helper()
	met := map[pair]meeting{}
	m.board.await(t, harness.Patience, func() (missing []string) {
		for _, p := range m.pairs() {
			met[p] = m.board.meeting(p.one, p.other)
			if want := wanted(p.one.kind, p.other.kind); met[p].how != want {
				missing = append(missing, fmt.Sprintf("%v: %q, want %q: %s", p, met[p].how, want, met[p].text))
			}
		}
		return missing
	})
	return met
}

// pair is two machines.
type pair struct{ one, other *place }

func (c pair) String() string { return c.one.Name + " and " + c.other.Name }

// pairs returns all pairs of the mesh.
func (m *mesh) pairs() (all []pair) {
	for i, one := range m.places {
		for _, other := range m.places[i+1:] {
			all = append(all, pair{one, other})
		}
	}
	return all
}

// judge compares how the pairs meet with the table, cell by cell, and prints how long it took.
func (m *mesh) judge(meetings map[pair]meeting) {
	m.t.Helper()
	type cell struct{ a, b lab.Kind }
	hows, worst, moved := map[cell]way{}, map[cell]time.Duration{}, map[cell]time.Duration{}
	for p, at := range meetings {
		c := cell{min(p.one.kind, p.other.kind), max(p.one.kind, p.other.kind)}
		how := at.how
		switch {
		case how != wanted(c.a, c.b):
			m.t.Errorf("%v: %q, want %q: %s", p, how, wanted(c.a, c.b), at.text)
			how = "fail"
		case at.after > limit:
			m.t.Errorf("%v: %s after %v, want %v at most", p, how, at.after, limit)
			how = "fail"
		default:
		}
		if hows[c] != "fail" {
			hows[c] = how
		}
		worst[c], moved[c] = max(worst[c], at.after), max(moved[c], at.moved)
	}
	var table strings.Builder
	kinds, _ := gridKinds()
	for _, b := range kinds {
		fmt.Fprintf(&table, "%-23s", b)
		for _, a := range kinds {
			if c := (cell{a, b}); hows[c] != "" {
				harness.Meeting(m.t, a, b, string(hows[c]))
				fmt.Fprintf(&table, " %-7s %4.1f %4.1f", hows[c], worst[c].Seconds(), moved[c].Seconds())
			}
		}
		table.WriteByte('\n')
	}
	m.t.Logf("how they met, after how many seconds at most since both knew of each other, and since both were up:\n%s", table.String())
}

// gatewayOf returns the gateway of a machine.
func gatewayOf(t *testing.T, node *lab.Node) (gateway netip.Addr) {
	t.Helper()
	err := node.Netlink(func(h *netlink.Handle) error {
		for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
			routes, err := h.RouteList(nil, family)
			if err != nil {
				return err
			}
			for _, r := range routes {
				if address, ok := netip.AddrFromSlice(r.Gw); ok && !gateway.IsValid() {
					gateway = address.Unmap()
				}
			}
		}
		return nil
	})
	if err != nil || !gateway.IsValid() {
		t.Fatalf("the gateway of %s: %v, %v", node.Name, gateway, err)
	}
	return gateway
}
