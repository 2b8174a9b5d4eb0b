package e2e_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/spanmesh/span/e2e/internal/harness"
	"github.com/spanmesh/span/e2e/internal/trouble"
	"github.com/spanmesh/span/e2e/lab"
)

// awaitHealth waits until the health of a machine has a text.
func awaitHealth(t *testing.T, machine *harness.Machine, text string) {
	t.Helper()
	ctx := harness.Context(t)
	for {
		health := machine.API.Post("GetHealth", "{}")
		if strings.Contains(health, text) {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("the health of %s never had %s: %s", machine.Name, text, health)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// TestDoctorFromOutside has the discovery server send UDP to machines with and without a firewall, on
// the machine and in front of it. Each asks once, since an address has one try in 10 seconds.
func TestDoctorFromOutside(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "`spanctl doctor` tells a firewall of the machine from a router in front of it, and the kind of a NAT; two symmetric NATs are named")
	m := harness.NewMesh(t, 3)
	m.Config = harness.Edit(m.Config, "harvestExtraEndpoints: true")
	for _, machine := range m.Machines {
		machine.Files.WriteConfig(m.Config)
	}
	open, closed, early := m.Machines[0], m.Machines[1], m.Machines[2]
	home := m.AddBehindNAT(lab.Cone, "home")
	first, second := m.AddBehindNAT(lab.Symmetric, "first"), m.AddBehindNAT(lab.Symmetric, "second")
	// Its router keeps the port: with another one for what goes out, two flows between the same two ends
	// differ in the router alone, and the kernel gives one of them a port of its own choice.
	forwarded := m.AddBehindNAT(lab.Preserving, "forwarded")
	m.RouterOf(forwarded).Exec.Nodecmd("forward", forwarded.Address.String(), "51820")
	trouble.BlockUDP(closed, "in")
	m.Start()
	for _, machine := range m.Machines {
		machine.API.AwaitIdentity()
		machine.CLI.AwaitNoDiff()
	}
	firewalls := func(machine *harness.Machine) string {
		t.Helper()
		return machine.CLI.Try("doctor").Stdout
	}
	own := func(machine *harness.Machine) string {
		return fmt.Sprintf("ok   nat none: %s sees this machine's own address %v (IPv4)", m.Endpoint(), machine.Address)
	}
	behind := func(machine *harness.Machine) string {
		return fmt.Sprintf("ok   nat %s sees %v, and this machine has %v: there is a NAT (IPv4); ", m.Endpoint(), m.RouterOf(machine).Address, machine.Address)
	}

	wantLines(t, firewalls(open), fmt.Sprintf("ok   udp 3 of 3 datagrams from outside reach UDP 51820 of %v", open.Address), own(open))
	dropsHere := firewalls(closed)
	wantLines(t, dropsHere, fmt.Sprintf("fail udp 3 of 3 datagrams to UDP 51820 of %v arrive here, and this machine's firewall drops them; open it here: `ufw allow 51820/udp`", closed.Address), own(closed))
	awaitHealth(t, home, fmt.Sprintf(`"mappedAddress":"%v","mappedPorts":[%d]`, m.RouterOf(home).Address, lab.MappedPort))
	dropsInFront := firewalls(home)
	harness.WantText(t, "doctor behind a router", dropsInFront,
		fmt.Sprintf("udp none of 3 datagrams to UDP 51820 of %v arrive here: the router or a firewall in front of this machine drops them", m.RouterOf(home).Address))
	wantLines(t, dropsInFront, behind(home)+"UDP 51820 is seen at its port 40000; whether everybody sees it there takes servers of STUN at two addresses")
	wantLines(t, firewalls(forwarded), fmt.Sprintf("ok   udp 3 of 3 datagrams from outside reach UDP 51820 of %v", m.RouterOf(forwarded).Address), behind(forwarded))
	// The datagrams of the first try are no difference to what the config asks for.
	open.CLI.AwaitNoDiff()

	t.Run("two symmetric NATs", func(t *testing.T) {
		awaitShown(first, "SymmetricNAT/second", "neither end keeps its port: the NAT at "+m.RouterOf(first).Address.String()+" ", "and that at "+m.RouterOf(second).Address.String()+" ", "give a discovery server --relay")
		awaitShown(second, "SymmetricNAT/first")
		wantLines(t, firewalls(first), behind(first)+"it gives UDP 51820 another port for each peer")
		for _, setting := range []string{"ipv6/conf/all/forwarding", "ipv4/ip_forward"} {
			if err := open.Write("/proc/sys/net/"+setting, "1"); err != nil {
				t.Fatal(err)
			}
		}
		open.Files.WriteConfig(harness.Edit(m.Config, "relay: forwarding: offer: true"))
		for _, machine := range []*harness.Machine{first, second} {
			machine.Files.WriteConfig(harness.Edit(m.Config, "relay: forwarding: use: true"))
		}
		awaitNotShown(first, "SymmetricNAT/second")
		awaitNotShown(second, "SymmetricNAT/first")
	})
	t.Run("a server without it", func(t *testing.T) {
		m.Server.Terminate()
		m.Serve("--reflect=false")
		wantLines(t, firewalls(early), "skip udp "+m.Endpoint()+" has no Reflect", "skip nat "+m.Endpoint()+" has no Reflect")
	})
	t.Run("no mesh", func(t *testing.T) {
		early.CLI.Run("down")
		wantLines(t, firewalls(early), "skip udp there is no mesh here with UDP 51820", "skip nat there is no mesh here with UDP 51820")
	})
}
