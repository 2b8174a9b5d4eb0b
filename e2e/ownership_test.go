package e2e_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/e2e/internal/harness"
	"github.com/spanmesh/span/e2e/interop"
)

// gatewayOfLab is an address of the lab's network that no machine has.
const gatewayOfLab = "172.20.0.1"

// advertise is the setting for networks behind a machine.
func advertise(networks ...string) string {
	return fmt.Sprintf(`advertisedNetworks: ["%s"]`, strings.Join(networks, `", "`))
}

// crash ends a machine as a loss of power does.
func crash(machine *harness.Machine) {
	machine.Agent.Kill()
	machine.Exec.Nodecmd("delete-link")
}

// setUpAnew removes the machine's state, as an installation does. The MAC stays, and the new key
// sorts before or after the old one.
func setUpAnew(t *testing.T, machine *harness.Machine, after bool) {
	t.Helper()
	identity := filepath.Join(machine.StateDir(), "node-identity.yaml")
	text, err := os.ReadFile(identity)
	if err != nil {
		t.Fatal(err)
	}
	_, mac, found := strings.Cut(string(text), "mac: ")
	if !found {
		t.Fatalf("the machine has a network card: %s", text)
	}
	old, err := base64.StdEncoding.DecodeString(publicKey(machine))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(machine.StateDir()); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(machine.StateDir(), 0o700); err != nil {
		t.Fatal(err)
	}
	for {
		key, err := ecdh.X25519().GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if public := key.PublicKey().Bytes(); bytes.Compare(public, old) > 0 == after {
			write(t, filepath.Join(machine.StateDir(), "kubespan-identity.yaml"), fmt.Sprintf("privateKey: %s\npublicKey: %s\n",
				base64.StdEncoding.EncodeToString(key.Bytes()), base64.StdEncoding.EncodeToString(public)))
			break
		}
	}
	write(t, identity, fmt.Sprintf("nodeId: anew%d\nmac: %s", time.Now().UnixNano(), mac))
}

// publicKey returns the key that a machine had last, from its state.
func publicKey(machine *harness.Machine) string {
	text, _ := os.ReadFile(filepath.Join(machine.StateDir(), "kubespan-identity.yaml"))
	_, key, _ := strings.Cut(string(text), "publicKey: ")
	return strings.TrimSpace(key)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// awaitCondition waits until a machine has a condition with a code whose cause contains a text.
func awaitCondition(machine *harness.Machine, code, text string) {
	machine.API.Await("conditions", func(specs harness.Specs) bool {
		for _, spec := range specs {
			cause, _ := spec["cause"].(string)
			if spec["code"] == code && strings.Contains(cause, text) {
				return true
			}
		}
		return false
	})
}

// awaitClaim waits until a peer's claim on a prefix has an owner and a reason.
func awaitClaim(machine *harness.Machine, peer, prefix, owner, reason string) {
	machine.API.Await("kubespanpeerspecs", func(specs harness.Specs) bool {
		for _, spec := range specs {
			claims, _ := spec["claims"].([]any)
			if spec["label"] == peer && slices.ContainsFunc(claims, func(c any) bool {
				claim, _ := c.(map[string]any)
				has, _ := claim["owner"].(string)
				why, _ := claim["reason"].(string)
				return claim["prefix"] == prefix && has == owner && strings.Contains(why, reason)
			}) {
				return true
			}
		}
		return false
	})
}

// reached logs how long a machine takes until an address answers.
func reached(t *testing.T, from *harness.Machine, address netip.Addr, what string) {
	t.Helper()
	start := time.Now()
	from.Packets.Ping(address)
	t.Logf("%s: %s is reached after %v", what, address, time.Since(start).Round(100*time.Millisecond))
}

// TestSetUpAnew loses a machine and sets it up with the same MAC, name and address.
func TestSetUpAnew(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "a machine that was set up anew takes its addresses over from its predecessor")
	m := harness.StartMesh(t, 3)
	m.AwaitUp()
	node, other := m.Machines[0], m.Machines[2]
	address := other.API.MeshAddress()
	for _, after := range []bool{true, false} {
		node.Packets.Ping(address)
		crash(other)
		setUpAnew(t, other, after)
		other.Agent.Start()
		other.API.AwaitIdentity()
		if now := other.API.MeshAddress(); now != address {
			t.Fatalf("the address is %s, want %s as before", now, address)
		}
		for _, from := range m.Machines[:2] {
			reached(t, from, address, fmt.Sprintf("set up anew, key after the old one: %v", after))
			from.Packets.Ping(other.Address)
		}
		awaitCondition(node, "AddressClash", "node-3")
	}
}

// TestNetworkFailsOver has two machines with one network behind them.
func TestNetworkFailsOver(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "of two machines with one network behind them, the other takes over when its owner dies or leaves")
	m := harness.NewMesh(t, 3)
	node, network, inside := m.Machines[0], "10.99.0.0/24", netip.MustParseAddr("10.99.0.1")
	node.Exec.Nodecmd("default-route", gatewayOfLab)
	for _, machine := range m.Machines[1:] {
		machine.Exec.Nodecmd("inner", "10.99.0.1/24")
		machine.Files.WriteConfig(harness.Edit(m.Config, advertise(network)))
	}
	m.Start()
	m.AwaitUp()
	node.Packets.Ping(inside)
	awaitCondition(node, "AddressOverlap", "claim it")
	owner := func() (owner, other *harness.Machine) {
		specs := node.CLI.Run("get", "kubespanpeerspecs", "-o", "yaml")
		if strings.Contains(specs, "won against node-3") {
			return m.Machines[1], m.Machines[2]
		}
		return m.Machines[2], m.Machines[1]
	}
	dead, next := owner()
	start := time.Now()
	crash(dead)
	node.API.AwaitNetwork(next.Name, network)
	node.Packets.Ping(inside)
	t.Logf("the owner has crashed: the network is reached after %v", time.Since(start).Round(100*time.Millisecond))
	awaitClaim(node, dead.Name, network, next.Name, "lost to "+next.Name)
	dead.Agent.Start()
	m.AwaitUp()
	t.Logf("all are up after %v", time.Since(start).Round(100*time.Millisecond))
	// It does not move back.
	awaitClaim(node, next.Name, network, next.Name, "won against "+dead.Name)
	next.CLI.Run("down")
	reached(t, node, inside, "the owner has left")
	node.CLI.AwaitNoDiff()
}

// TestMemberAdvertisesEverything has a machine that advertises default routes, the network that
// all are in, and networks around those of others.
func TestMemberAdvertisesEverything(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "a member that advertises everything takes nothing of others: default routes, local networks, longer networks")
	m := harness.NewMesh(t, 3)
	node, greedy, other := m.Machines[0], m.Machines[1], m.Machines[2]
	for _, machine := range m.Machines {
		machine.Exec.Nodecmd("default-route", gatewayOfLab)
	}
	greedy.Files.WriteConfig(harness.Edit(m.Config, advertise("0.0.0.0/0", "::/0", "0.0.0.0/1", "128.0.0.0/1", "172.20.0.0/24",
		"172.20.0.0/16", "172.20.0.128/25", gatewayOfLab+"/32", "10.99.0.0/16", "fd00::/8")))
	other.Exec.Nodecmd("inner", "10.99.1.1/24")
	other.Files.WriteConfig(harness.Edit(m.Config, advertise("10.99.1.0/24")))
	m.Start()
	m.AwaitUp()
	m.Join(m.Add("node-4")).Agent.Start() // a new machine is safe, too
	m.Machines[3].Exec.Nodecmd("default-route", gatewayOfLab)
	m.AwaitUp()
	for _, machine := range []*harness.Machine{node, m.Machines[3]} {
		sent := machine.Net.Sent()
		machine.Packets.PingMany(m.Discovery.Address, 20) // it is in the network, and no member
		if n := machine.Net.Sent() - sent; n > 10 {
			t.Errorf("%d packets to %s went into the tunnel", n, m.Discovery.Address)
		}
		machine.Packets.Ping(netip.MustParseAddr("10.99.1.1"))
		machine.Packets.Ping(other.Address)
		machine.Packets.Ping(other.API.MeshAddress())
		awaitCondition(machine, "NetworkCoversLAN", "does not take 172.20.0.0/24, the network of the link eth0")
		awaitCondition(machine, "AddressRefused", "is a default route")
		awaitClaim(machine, greedy.Name, "172.20.0.128/25", "local", "does not take 172.20.0.0/24")
		awaitClaim(machine, greedy.Name, "10.99.0.0/16", greedy.Name, "")
		awaitClaim(machine, other.Name, "10.99.1.0/24", other.Name, "")
	}
	m.AwaitNoDiff()
	t.Run("a default route that the filter lets in", func(t *testing.T) {
		node.Files.WriteConfig(harness.Edit(m.Config, `filters: peerNetworks: ["0.0.0.0/0"]`))
		awaitClaim(node, greedy.Name, "0.0.0.0/1", greedy.Name, "") // the halves are longer
		node.Packets.PingMany(m.Discovery.Address, 20)
		node.Packets.Ping(netip.MustParseAddr("10.99.1.1"))
		node.Packets.Ping(other.API.MeshAddress())
		node.CLI.AwaitNoDiff()
	})
}

// TestAddressOfAnotherSite has a machine whose address another machine has behind it at home.
func TestAddressOfAnotherSite(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "two sites with one private network: the printer is reached, not the peer with its address")
	m := harness.NewMesh(t, 2)
	node, peer := m.Machines[0], m.Machines[1]
	printer := node.AddPodWithMTU("printer", 1420, "192.168.9.0/24")
	peer.Files.WriteConfig(harness.Edit(m.Config, fmt.Sprintf(`addresses: ["%s/24"]`, printer.Address)))
	m.Start()
	m.AwaitUp()
	sent := node.Net.Sent()
	node.Packets.PingMany(printer.Address, 20)
	if n := node.Net.Sent() - sent; n > 10 {
		t.Errorf("%d packets to the printer went into the tunnel", n)
	}
	awaitCondition(node, "AddressOnLink", printer.Address.String()+"/32 is in 192.168.9.0/24")
	awaitClaim(node, peer.Name, printer.Address.String()+"/32", "local", "the peer is not reached there")
	m.AwaitNoDiff()
	t.Run("unless the config routes the network", func(t *testing.T) {
		node.Files.WriteConfig(harness.Edit(m.Config, `routeConnectedNetworks: ["192.168.9.0/24"]`))
		node.API.AwaitNetwork(peer.Name, printer.Address.String()+"/32")
		awaitClaim(node, peer.Name, printer.Address.String()+"/32", peer.Name, "")
	})
}

// TestLocalRuleBehind moves the rule of the local table behind all others, as setups with VRFs
// do, while a peer advertises the network of an own address.
func TestLocalRuleBehind(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "a machine reaches itself although the local rule is behind, and a peer advertises its address")
	m := harness.NewMesh(t, 2)
	node, peer := m.Machines[0], m.Machines[1]
	node.Exec.Nodecmd("inner", "10.98.0.1/32")
	peer.Files.WriteConfig(harness.Edit(m.Config, advertise("10.98.0.0/16", "10.98.0.1/32", "172.20.0.0/16")))
	if err := node.Netlink(moveLocalRule); err != nil {
		t.Fatal(err)
	}
	m.Start()
	m.AwaitUp()
	for _, own := range []netip.Addr{node.Address, netip.MustParseAddr("10.98.0.1"), node.API.MeshAddress()} {
		node.Packets.Ping(own)
	}
	node.Packets.Ping(peer.Address)
	node.Packets.Ping(peer.API.MeshAddress())
	m.AwaitNoDiff()
}

func moveLocalRule(h *netlink.Handle) error {
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		rule := netlink.NewRule()
		rule.Family, rule.Priority, rule.Table = family, 32765, unix.RT_TABLE_LOCAL
		if err := h.RuleAdd(rule); err != nil {
			return err
		}
		rule.Priority = 0
		if err := h.RuleDel(rule); err != nil {
			return err
		}
	}
	return nil
}

// TestForeignClaims has a member that publishes what no machine may have.
func TestForeignClaims(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "mapped, multicast, link-local and loopback networks of a member are refused with a reason")
	m := harness.StartMesh(t, 2)
	m.AwaitUp()
	node := m.Machines[0]
	talos := m.Add("talos")
	subnet := node.API.MeshAddress().As16()
	subnet[15]++
	var networks []netip.Prefix
	refused := map[string]string{
		"224.0.0.0/4": "is multicast", "169.254.0.0/16": "is link-local", "fe80::/10": "is link-local", "127.0.0.0/8": "is loopback",
		"ff00::/8": "is multicast", "255.255.255.255/32": "is broadcast", node.Address.String() + "/32": "",
	}
	for network := range refused {
		networks = append(networks, netip.MustParsePrefix(network))
	}
	description, err := json.Marshal(interop.Peer{
		Target: net.JoinHostPort(m.Discovery.Address.String(), harness.DiscoveryPort), Cluster: m.Value("id"), Secret: m.Value("secret"),
		NodeID: "2VfX3nu67ZtZPl57IdJrU87BMjVWkSBJiL9ulP9TCnF", Name: "hostile", PublicKey: "06D9QQOydzKrOL7oeLiqHy9OWE8KtmJzZII2A5/FLFI=",
		Address: talos.Address, MeshAddress: netip.AddrFrom16(subnet), Endpoint: netip.AddrPortFrom(talos.Address, 51820),
		Networks: append(networks, netip.MustParsePrefix("::ffff:1.2.3.0/120")),
	})
	if err != nil {
		t.Fatal(err)
	}
	peer := talos.Exec.StartNodecmd("talos-peer", string(description))
	node.API.AwaitNetwork("hostile", "1.2.3.0/24")
	for network, reason := range refused {
		owner := ""
		if reason == "" {
			owner = "local"
		}
		awaitClaim(node, "hostile", network, owner, reason)
	}
	awaitCondition(node, "AddressRefused", "is ")
	node.Packets.Ping(m.Machines[1].API.MeshAddress())
	m.AwaitNoDiff()
	if out := node.Agent.Output(); strings.Contains(out, "reverted external change") {
		t.Errorf("the agent repairs its own work:\n%s", out)
	}
	peer.Terminate()
}
