package guest_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/e2e/internal/harness"
	"github.com/spanmesh/span/e2e/lab"
)

// TestKernelWithoutNftables unloads modules of the guest's kernel: first those of nftables,
// then one that only some of the rules need.
func TestKernelWithoutNftables(t *testing.T) {
	harness.Scenario(t, "a kernel without nftables, or without a part of it: nothing is changed, and the error names the module")
	m := harness.NewMesh(t, 2)
	m.Serve()
	node, other := m.Machines[0], m.Machines[1]
	before := node.Net.Inventory()
	// The kernel cannot load them again.
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
			o := node.CLI.Try("apply", "-f", node.Config(), "--immediate")
			load(t, parts...)
			o.WantStatus(t, 1).WantStderr(t, c.advice)
			if after := node.Net.Inventory(); after != before {
				t.Errorf("something was changed:\n%s", after)
			}
		})
	}
	unload(t, "nft_ct")
	node.Agent.Start()
	node.Agent.AwaitOutput("`modprobe nft_ct`")
	harness.WantText(t, "the condition", fmt.Sprint(node.API.AwaitCondition("NoNftables")), "has no connection tracking", "`modprobe nft_ct`")
	loading()
	load(t, "nft_ct")
	other.Agent.Start()
	m.AwaitUp()
	node.API.AwaitNoCondition("NoNftables")
	m.AwaitNoDiff()
}

// load loads modules and their dependencies.
func load(t *testing.T, modules ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "modprobe", append([]string{"-a"}, modules...)...).CombinedOutput(); err != nil {
		t.Fatalf("load %s: %v: %s", modules, err, out)
	}
}

// unload unloads the modules that are loaded, in the order given.
func unload(t *testing.T, modules ...string) {
	t.Helper()
	for _, module := range modules {
		if err := unix.DeleteModule(module, unix.O_NONBLOCK); err != nil && !errors.Is(err, unix.ENOENT) {
			t.Fatalf("unload %s: %v", module, err)
		}
	}
}

// TestMACChanges changes the MAC of the guest's network card, which is part of the machine's
// address in the mesh.
func TestMACChanges(t *testing.T) {
	harness.Scenario(t, "the MAC of a machine's network card changes, and its address in the mesh with it")
	m := harness.NewMesh(t, 2)
	node, other := m.Machines[0], m.Machines[1]
	takeCard(t, node)
	m.Start()
	m.AwaitUp()
	before := node.API.MeshAddress()
	other.Packets.Ping(before)
	setMAC(t, node, "52:54:00:65:43:21")
	node.API.AwaitMeshAddressNot(before)
	m.AwaitUp()
	after := node.API.MeshAddress()
	other.Packets.Ping(after)
	node.Packets.Ping(other.API.MeshAddress())
	if strings.Contains(node.Net.Inventory(), before.String()) {
		t.Errorf("the old address %s is still there", before)
	}
	if !other.Packets.Blocked(before) {
		t.Errorf("the old address %s still answers", before)
	}
	m.AwaitNoDiff()
}

const card = "card0"

// takeCard moves the guest's network card into the machine.
func takeCard(t *testing.T, m *harness.Machine) {
	t.Helper()
	// The card is in the network namespace of PID 1, not in that of the tests.
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
		t.Fatal(err)
	}
}

func setMAC(t *testing.T, m *harness.Machine, mac string) {
	t.Helper()
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
		t.Fatal(err)
	}
}

func TestDelay(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "a path of 100 ms with jitter, loss and packets out of order")
	m := harness.NewMesh(t, 3)
	for _, machine := range m.Machines {
		err := machine.Netlink(func(h *netlink.Handle) error {
			link, err := h.LinkByName(lab.Link)
			if err != nil {
				return err
			}
			return h.QdiscAdd(netlink.NewNetem(
				netlink.QdiscAttrs{LinkIndex: link.Attrs().Index, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT},
				netlink.NetemQdiscAttrs{Latency: 50_000, Jitter: 20_000, Loss: 3, ReorderProb: 20, ReorderCorr: 50}))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	m.Start()
	m.AwaitUp()
	m.Machines[0].Packets.Transfer(m.Machines[1], m.Machines[1].API.MeshAddress(), 64<<10)
	m.AwaitNoDiff()
}

// TestClockIsSet steps the clock. All machines of the guest share it.
func TestClockIsSet(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "the clock is set forward by an hour, and no peer is lost")
	m := harness.StartMesh(t, 2)
	m.AwaitUp()
	m.WhilePinging(func() {
		from := len(m.Machines[0].Agent.Output())
		m.Machines[0].Exec.Nodecmd("set-clock", "1h")
		// The agents look at their peers at once.
		m.Machines[0].Packets.Ping(m.Machines[1].API.MeshAddress())
		<-time.After(5 * time.Second)
		for _, machine := range m.Machines {
			machine.API.AwaitPeersUp(1)
		}
		if out := m.Machines[0].Agent.Output()[from:]; strings.Contains(out, "peer down") {
			t.Errorf("the agent logs:\n%s", out)
		}
	})
	m.AwaitNoDiff()
}
