package e2e_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/spanmesh/span/e2e/lab"
)

func TestIPv6Underlay(t *testing.T) {
	scenario(t, "three machines mesh over an underlay of IPv6 alone")
	m := newMeshOn(t, lab.Underlay6, 3)
	m.start()
	m.awaitUp()
	for _, from := range m.machines {
		for _, to := range m.machines {
			if from != to {
				from.ping(to.meshAddress())
				from.ping(to.Address)
			}
		}
	}
	m.diffsAreClean()
}

// TestSmallPath has links of the least MTU that IPv6 allows under a tunnel of the
// usual one: what does not fit is sent in fragments, and everything arrives.
func TestSmallPath(t *testing.T) {
	scenario(t, "a path with an MTU of 1280 carries a TCP connection")
	m := newMesh(t, 2)
	for _, machine := range m.machines {
		machine.setMTU(1280)
	}
	m.start()
	m.awaitUp()
	for _, machine := range m.machines {
		machine.await(machine.agent, "the MTU of 1420 is more than the 1280 that the links to the peers leave room for")
	}
	// In userspace WireGuard sends several packets as one, which the kernel then
	// does not take apart into fragments: it takes longer.
	m.machines[0].transfer(m.machines[1], m.machines[1].meshAddress(), 32<<10)
	m.machines[0].transfer(m.machines[1], m.machines[1].Address, 32<<10)

	t.Run("and the MTU follows the path where it is automatic", func(t *testing.T) {
		for _, machine := range m.machines {
			machine.setMTU(1400)
			machine.after(func() { machine.write(edit(m.config, `mtu: "auto"`)) }, "mtu 1420 -> 1320")
		}
		m.machines[0].transfer(m.machines[1], m.machines[1].meshAddress(), 1<<20)
		for _, machine := range m.machines {
			machine.after(func() { machine.setMTU(1500) }, "mtu 1320 -> 1420")
		}
	})
	m.diffsAreClean()
}

func (m *machine) setMTU(mtu int) {
	m.t.Helper()
	err := m.Netlink(func(h *netlink.Handle) error {
		link, err := h.LinkByName(lab.Link)
		if err != nil {
			return err
		}
		return h.LinkSetMTU(link, mtu)
	})
	if err != nil {
		m.t.Fatal(err)
	}
}

func TestLoss(t *testing.T) {
	scenario(t, "of all packets a tenth is lost")
	m := newMesh(t, 3)
	for _, machine := range m.machines {
		machine.role("lose", "10")
	}
	m.start()
	m.awaitUp()
	m.machines[0].transfer(m.machines[1], m.machines[1].meshAddress(), 64<<10)
	m.diffsAreClean()
}

func TestDelay(t *testing.T) {
	scenario(t, "a path of 100 ms with jitter, loss and packets out of order")
	requiresGuest(t, "the kernel of most machines has no netem")
	m := newMesh(t, 3)
	for _, machine := range m.machines {
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
	m.start()
	m.awaitUp()
	m.machines[0].transfer(m.machines[1], m.machines[1].meshAddress(), 64<<10)
	m.diffsAreClean()
}

// TestLinkFlaps takes the only link of a machine away for a while.
func TestLinkFlaps(t *testing.T) {
	scenario(t, "the link of a machine goes down and comes back")
	m := startMesh(t, 3)
	m.awaitUp()
	node, other := m.machines[0], m.machines[1]
	node.ping(other.meshAddress())
	node.setLink(false)
	if node.answers(other.meshAddress()) {
		t.Fatal("packets pass over a link that is down")
	}
	node.setLink(true)
	began := time.Now()
	node.ping(other.meshAddress())
	other.ping(node.meshAddress())
	t.Logf("the tunnel carried packets %.1f s after the link came back", time.Since(began).Seconds())
	m.awaitUp()
	m.diffsAreClean()
}

func (m *machine) setLink(up bool) {
	m.t.Helper()
	err := m.Netlink(func(h *netlink.Handle) error {
		link, err := h.LinkByName(lab.Link)
		if err != nil {
			return err
		}
		if up {
			return h.LinkSetUp(link)
		}
		return h.LinkSetDown(link)
	})
	if err != nil {
		m.t.Fatal(err)
	}
}

// TestAddressChanges gives a machine another address, and then two at the same time,
// so that neither is where the other last saw it.
func TestAddressChanges(t *testing.T) {
	scenario(t, "the addresses of machines change")
	m := startMesh(t, 3)
	m.awaitUp()
	node, other := m.machines[0], m.machines[1]
	address := other.meshAddress()
	began := time.Now()
	node.move(netip.MustParseAddr("172.20.0.201"))
	if _, err := other.Ping(withPatience(t), node.meshAddress()); err != nil {
		t.Fatal(err)
	}
	t.Logf("the others reached a machine %.1f s after it moved", time.Since(began).Seconds())

	t.Run("of both ends at once", func(t *testing.T) {
		began := time.Now()
		node.move(netip.MustParseAddr("172.20.0.202"))
		other.move(netip.MustParseAddr("172.20.0.203"))
		if _, err := node.Ping(withPatience(t), address); err != nil {
			t.Fatal(err)
		}
		t.Logf("they reached each other %.1f s after both moved", time.Since(began).Seconds())
	})
	m.awaitUp()
	m.diffsAreClean()
}

// move gives the machine another address on the lab's network in place of its own.
func (m *machine) move(to netip.Addr) {
	m.t.Helper()
	err := m.Netlink(func(h *netlink.Handle) error {
		link, err := h.LinkByName(lab.Link)
		if err != nil {
			return err
		}
		if err := h.AddrDel(link, lab.Address(netip.PrefixFrom(m.Address, lab.Underlay.Bits()))); err != nil {
			return err
		}
		return h.AddrAdd(link, lab.Address(netip.PrefixFrom(to, lab.Underlay.Bits())))
	})
	if err != nil {
		m.t.Fatal(err)
	}
	m.Address = to
}

// partitionTime is how long the network is parted, which is what the test is about.
const partitionTime = 60 * time.Second

func TestPartitionHeals(t *testing.T) {
	scenario(t, "a partition of 60 s heals within 10 s of its end")
	t.Parallel()
	m := startMesh(t, 3)
	m.awaitUp()
	node, other := m.machines[0], m.machines[1]
	// No helper outlives the partition: the rules go with their process.
	parted := node.startRole("part", other.Address.String())
	if node.answers(other.meshAddress()) {
		t.Fatal("packets pass through the partition")
	}
	<-time.After(partitionTime)
	m.machines[2].ping(node.meshAddress())
	stop(t, parted)
	began := time.Now()
	node.ping(other.meshAddress())
	node.awaitUp(2)
	other.awaitUp(2)
	took := time.Since(began)
	t.Logf("both ends were up %.1f s after the partition ended", took.Seconds())
	if took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
	m.diffsAreClean()
}

// TestDeadEndpoints has a machine with five addresses at which it does not answer,
// announced before the one at which it does. The other hides, so that it is for
// that one to find it.
func TestDeadEndpoints(t *testing.T) {
	scenario(t, "five dead endpoints before the good one: up in under 40 s")
	t.Parallel()
	m := newMesh(t, 2)
	node, seeker := m.machines[0], m.machines[1]
	var dead []string
	for i := range 5 {
		dead = append(dead, netip.AddrFrom4([4]byte{172, 20, 0, byte(240 + i)}).String())
	}
	// Their link sorts before that of the good one.
	node.role("dead-link", dead...)
	seeker.write(edit(m.config, `filters: endpoints: ["!172.20.0.0/24"]`))
	m.start()
	// From when it has the first to try: how long an agent takes to start is not asked here.
	seeker.follow("kubespanpeerspecs", func(specs map[string]map[string]any) bool { return len(specs) == 1 })
	began := time.Now()
	m.awaitUp()
	took := time.Since(began)
	t.Logf("up after %.1f s", took.Seconds())
	if took > 40*time.Second {
		t.Errorf("it took %v", took)
	}
	m.diffsAreClean()
	if specs := seeker.run("get", "kubespanpeerspecs"); !strings.Contains(specs, `244:51820","`+node.Address.String()+":51820") {
		t.Errorf("the good endpoint is not the last of:\n%s", specs)
	}

	t.Run("and the endpoint that worked is tried first after a reboot", func(t *testing.T) {
		restart := time.Now()
		if err := seeker.agent.Stop(sigterm); err != nil {
			t.Fatal(err)
		}
		seeker.run("down")
		seeker.startAgent()
		m.awaitUp()
		if took := time.Since(restart); took > 15*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

// TestConeNATs has two machines behind routers that give their packets another
// port, which only others see: a third machine tells of it.
func TestConeNATs(t *testing.T) {
	scenario(t, "two machines behind cone NATs meet through what a third one sees")
	t.Parallel()
	m := newMesh(t, 1)
	m.config = edit(m.config, "harvestExtraEndpoints: true")
	m.machines[0].write(m.config)
	first, second := m.behind(t, lab.Cone, "first"), m.behind(t, lab.Cone, "second")
	m.start()
	m.awaitUp()
	first.ping(second.meshAddress())
	first.awaitPeer("second", func(spec map[string]any) bool {
		return strings.HasSuffix(spec["endpoint"].(string), fmt.Sprintf(":%d", lab.MappedPort))
	})
	m.diffsAreClean()
}

// TestSymmetricNATs has two machines that no endpoint leads to.
func TestSymmetricNATs(t *testing.T) {
	scenario(t, "two machines behind symmetric NATs talk through a relay")
	t.Parallel()
	m := newMesh(t, 1)
	hub := m.machines[0]
	if err := hub.Write("/proc/sys/net/ipv6/conf/all/forwarding", "1"); err != nil {
		t.Fatal(err)
	}
	if err := hub.Write("/proc/sys/net/ipv4/ip_forward", "1"); err != nil {
		t.Fatal(err)
	}
	shared := m.config
	m.config = edit(shared, "relay: use: true")
	hub.write(edit(shared, "relay: offer: true"))
	first, second := m.behind(t, lab.Symmetric, "first"), m.behind(t, lab.Symmetric, "second")
	m.start()
	for _, machine := range []*machine{first, second} {
		machine.awaitPeer(hub.Name, isUp)
	}
	relayed := func(spec map[string]any) bool { return spec["relay"] == hub.Name }
	first.awaitPeer("second", relayed)
	second.awaitPeer("first", relayed)
	first.ping(second.meshAddress())
	second.ping(first.meshAddress())
	second.ping(first.Address)
	m.diffsAreClean()

	t.Run("and directly again once they can", func(t *testing.T) {
		// A port forwarding for one of them is enough.
		router := second.routerOf(t, m)
		router.role("forward", second.Address.String(), "51820")
		second.write(edit(m.config, fmt.Sprintf("extraAnnouncedEndpoints: [%q]", netip.AddrPortFrom(router.Address, 51820))))
		direct := func(spec map[string]any) bool { return isUp(spec) && spec["relay"] == nil }
		first.awaitPeer("second", direct)
		second.awaitPeer("first", direct)
		first.ping(second.meshAddress())
	})
	m.diffsAreClean()
}

// routerOf is the router of the site that the machine is at.
func (m *machine) routerOf(t *testing.T, of *mesh) *machine {
	t.Helper()
	for _, node := range of.Nodes() {
		if node.Name == m.Name+"-router" {
			return &machine{Node: node, t: t}
		}
	}
	t.Fatalf("%s has no router", m.Name)
	return nil
}
