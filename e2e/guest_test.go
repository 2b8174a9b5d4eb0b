package e2e_test

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/e2e/lab"
)

// TestKernelWithoutNftables takes modules away from the guest's kernel: first those
// of nftables, then one that only some of the rules need.
func TestKernelWithoutNftables(t *testing.T) {
	scenario(t, "a kernel without nftables, or without a part of it: nothing is changed, and what to do is said")
	requiresGuest(t, "the kernel's modules are the whole machine's")
	m := newMesh(t, 2)
	m.serve()
	node, other := m.machines[0], m.machines[1]
	before := node.inventory()
	// The kernel does not load them by itself meanwhile.
	const loader = "/proc/sys/kernel/modprobe"
	if err := os.WriteFile(loader, []byte("/bin/false"), 0); err != nil {
		t.Fatal(err)
	}
	loading := func() {
		if err := os.WriteFile(loader, []byte("/sbin/modprobe"), 0); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(loading)

	parts := []string{"nft_ct", "nft_chain_nat", "nft_masq", "nft_nat", "nft_numgen", "nft_limit"}
	for _, c := range []struct {
		name    string
		missing []string
		advice  string
	}{
		{"none", append(slices.Clone(parts), "nf_tables"), "`modprobe nf_tables`"},
		{"a part", parts[:1], "`modprobe nft_ct`"},
	} {
		t.Run(c.name, func(t *testing.T) {
			unload(t, c.missing...)
			o := node.try("apply", "-f", node.Config(), "--immediate")
			load(t, parts...)
			if o.status != 1 || !strings.Contains(o.stderr, c.advice) {
				t.Errorf("status %d\n%s%s", o.status, o.stdout, o.stderr)
			}
			if after := node.inventory(); after != before {
				t.Errorf("something was changed:\n%s", after)
			}
		})
	}
	unload(t, "nft_ct")
	node.startAgent()
	node.await(node.agent, "`modprobe nft_ct`")
	loading()
	load(t, "nft_ct")
	other.startAgent()
	m.awaitUp()
	m.diffsAreClean()
}

// load loads modules and what they need.
func load(t *testing.T, modules ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "modprobe", append([]string{"-a"}, modules...)...).CombinedOutput(); err != nil {
		t.Fatalf("load %s: %v: %s", modules, err, out)
	}
}

// unload takes modules away, if they are there, in the order given.
func unload(t *testing.T, modules ...string) {
	t.Helper()
	for _, module := range modules {
		if err := unix.DeleteModule(module, unix.O_NONBLOCK); err != nil && !errors.Is(err, unix.ENOENT) {
			t.Fatalf("unload %s: %v", module, err)
		}
	}
}

// TestMACChanges gives a machine the guest's network card, whose MAC is part of the
// machine's address in the mesh, and changes the MAC.
func TestMACChanges(t *testing.T) {
	scenario(t, "the MAC of a machine's network card changes, and its address in the mesh with it")
	requiresGuest(t, "it needs a network card")
	m := newMesh(t, 2)
	node, other := m.machines[0], m.machines[1]
	node.takeCard()
	m.start()
	m.awaitUp()
	before := node.meshAddress()
	other.ping(before)
	node.after(func() { node.setMAC("52:54:00:65:43:21") }, `"change applied" change=`)
	m.awaitUp()
	after := node.meshAddress()
	if after == before {
		t.Fatalf("the address is still %s", before)
	}
	other.ping(after)
	node.ping(other.meshAddress())
	if strings.Contains(node.inventory(), before.String()) {
		t.Errorf("the old address %s is still there", before)
	}
	if other.answers(before) {
		t.Errorf("the old address %s still answers", before)
	}
	m.diffsAreClean()
}

const card = "card0"

// takeCard moves the guest's network card into the machine.
func (m *machine) takeCard() {
	m.t.Helper()
	// The tests have a namespace of their own; the card is in the guest's first.
	err := lab.NetlinkOf(1, func(h *netlink.Handle) error {
		links, err := h.LinkList()
		if err != nil {
			return err
		}
		at := slices.IndexFunc(links, func(l netlink.Link) bool { return l.Type() == "device" && l.Attrs().EncapType == "ether" })
		if at < 0 {
			return errors.New("there is no network card")
		}
		if err := h.LinkSetName(links[at], card); err != nil {
			return err
		}
		return m.Namespace(func(ns netns.NsHandle) error { return h.LinkSetNsFd(links[at], int(ns)) })
	})
	if err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) setMAC(mac string) {
	m.t.Helper()
	err := m.Netlink(func(h *netlink.Handle) error {
		address, err := net.ParseMAC(mac)
		if err != nil {
			return err
		}
		link, err := h.LinkByName(card)
		if err != nil {
			return err
		}
		return h.LinkSetHardwareAddr(link, address)
	})
	if err != nil {
		m.t.Fatal(err)
	}
}
