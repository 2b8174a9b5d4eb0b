package trouble

import (
	"errors"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/spanmesh/span/e2e/internal/harness"
	"github.com/spanmesh/span/e2e/internal/nodecmd"
	"github.com/spanmesh/span/e2e/lab"
)

// CutPower stops a machine as if it had lost its power: it announces nothing.
func CutPower(machine *harness.Machine) {
	machine.Net.SetLink(false)
	machine.Agent.Kill()
	if machine.Net.LinkKind() == "tun" {
		machine.Exec.Nodecmd("kill-wireguard")
	} else {
		machine.Exec.Nodecmd("delete-link", nodecmd.MeshLink)
	}
}

// BlockUDP keeps WireGuard's packets from passing at a machine: "in" drops those that come in,
// "out" those that go out, "reject" refuses those that come in. Those of others alone, if there are
// any.
func BlockUDP(machine *harness.Machine, way string, others ...*harness.Machine) {
	if len(others) == 0 {
		machine.Exec.Nodecmd("block", "udp", "51820", way)
	}
	for _, other := range others {
		machine.Exec.Nodecmd("block", "udp", "51820", way, other.Address.String())
	}
}

// PassUDP ends what BlockUDP began.
func PassUDP(machine *harness.Machine) { machine.Exec.Nodecmd("delete-table", nodecmd.BlockTable) }

var (
	clusterID  = regexp.MustCompile(`\tid: *".*"`)
	secretLine = regexp.MustCompile(`secret: *".*"`)
)

// WithOtherID returns a config with the ID of another cluster.
func WithOtherID(config string) string {
	return clusterID.ReplaceAllString(config, "\tid: \"AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=\"")
}

// WithOtherSecret returns a config with the secret of no cluster.
func WithOtherSecret(config string) string {
	return secretLine.ReplaceAllString(config, `secret: "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="`)
}

var (
	unknownSettings  = []string{"mtuu: 1380", "listenport: 51820", "relays: true"}
	valuesOutOfRange = []string{"mtu: 1000", "listenPort: 70000", "routingTable: -1"}
)

func withBrace(config string) string { return config + "}\n" }

// withCutSecret returns a config whose secret lacks its first character.
func withCutSecret(config string) string {
	return secretLine.ReplaceAllStringFunc(config, func(line string) string {
		name, secret, _ := strings.Cut(line, `"`)
		return name + `"` + secret[1:]
	})
}

// BrokenConfigs returns configs that are not valid, made of one that is.
func BrokenConfigs(config string) []string {
	broken := []string{"", withBrace(config), withCutSecret(config)}
	for _, setting := range slices.Concat(unknownSettings, valuesOutOfRange) {
		broken = append(broken, harness.Edit(config, setting))
	}
	return broken
}

// SetForwarding lets a machine forward packets, or not.
func SetForwarding(t *testing.T, machine *harness.Machine, ipv6, ipv4 bool) {
	t.Helper()
	for setting, on := range map[string]bool{"ipv6/conf/all/forwarding": ipv6, "ipv4/ip_forward": ipv4} {
		if err := machine.Write("/proc/sys/net/"+setting, map[bool]string{false: "0", true: "1"}[on]); err != nil {
			t.Fatal(err)
		}
	}
}

// DisableIPv6 sets disable_ipv6 for all links and for new ones, as many hardening guides do.
func DisableIPv6(t *testing.T, machine *harness.Machine) {
	t.Helper()
	for _, link := range []string{"all", "default"} {
		if err := machine.Write("/proc/sys/net/ipv6/conf/"+link+"/disable_ipv6", "1"); err != nil {
			t.Fatal(err)
		}
	}
}

// OnLink changes the network of a machine, with its link to the lab's network.
func OnLink(t *testing.T, machine *harness.Machine, change func(h *netlink.Handle, link netlink.Link) error) {
	t.Helper()
	err := machine.Netlink(func(h *netlink.Handle) error {
		link, err := h.LinkByName(lab.Link)
		return errors.Join(err, change(h, link))
	})
	if err != nil {
		t.Fatal(err)
	}
}

// AddAddresses adds n addresses to a link: 10.99.SUBNET.1/32 and so on.
func AddAddresses(h *netlink.Handle, link netlink.Link, subnet byte, n int) error {
	for i := range n {
		address := netip.AddrFrom4([4]byte{10, 99, subnet, byte(i + 1)})
		if err := h.AddrAdd(link, lab.Address(netip.PrefixFrom(address, 32))); err != nil {
			return err
		}
	}
	return nil
}
