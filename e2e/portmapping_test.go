package e2e_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/spanmesh/span/e2e/internal/harness"
	"github.com/spanmesh/span/e2e/internal/nodecmd"
	"github.com/spanmesh/span/e2e/lab"
)

// TestPortMapping has two machines behind symmetric NATs, whose ports nobody else can use.
func TestPortMapping(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "two machines behind symmetric NATs meet directly where one's router maps a port by PCP; the mapping outlives an agent, and is released when the mesh is taken down, and with the setting or the port")
	m := withTwoServers(t)
	home, office := m.AddBehindNAT(lab.Symmetric, "home"), m.AddBehindNAT(lab.Symmetric, "office")
	router := m.RouterOf(home)
	pcp := router.Exec.StartNodecmd("map-ports", router.Address.String())
	m.Start()
	mapped, next := netip.AddrPortFrom(router.Address, nodecmd.FirstMapped).String(), netip.AddrPortFrom(router.Address, nodecmd.FirstMapped+1).String()
	reached := func(endpoint string) func(map[string]any) bool {
		return func(spec map[string]any) bool { return harness.IsUp(spec) && spec["endpoint"] == endpoint }
	}
	office.API.AwaitPeer("home", reached(mapped))
	home.API.AwaitPeer("office", harness.IsUp)
	home.Packets.Ping(office.API.MeshAddress())
	office.Packets.Ping(home.API.MeshAddress())

	home.API.Await("healthstates", func(specs harness.Specs) bool { return strings.Contains(fmt.Sprint(specs), "nat:dependent") })
	harness.WantText(t, "status of home", home.CLI.Run("status"), "another port for each destination: not announced", mapped+" by the router (PCP), announced")
	harness.WantText(t, "health of home", home.CLI.Run("get", "health", "-o", "wide"), `["`+mapped+`"]`)
	harness.WantText(t, "doctor of home", home.CLI.Try("doctor").Stdout, "the router maps "+mapped+" to UDP 51820 (PCP), which is announced")

	at := func(port int) string { return netip.AddrPortFrom(home.Address, uint16(port)).String() }
	t.Run("over a restart of the agent", func(t *testing.T) {
		m.WhilePinging(func() {
			home.Agent.Terminate()
			home.Agent.Start()
			pcp.AwaitOutput("renewed " + at(51820))
			home.API.AwaitPeersUp(1)
		})
		harness.WantNoText(t, "what the router has done", pcp.Output(), "released", "refused")
	})
	t.Run("where the port changes", func(t *testing.T) {
		home.Files.WriteConfig(harness.Edit(m.Config, "listenPort: 51999"))
		pcp.AwaitOutput("released " + at(51820))
		pcp.AwaitOutput("mapped " + at(51999))
		office.API.AwaitPeer("home", reached(next))
	})
	t.Run("where it is turned off", func(t *testing.T) {
		home.Files.WriteConfig(strings.Replace(harness.Edit(m.Config, "listenPort: 51999"), "nat: servers", "nat: portMapping: false, nat: servers", 1))
		pcp.AwaitOutput("released " + at(51999))
		home.API.Await("affiliates", func(specs harness.Specs) bool { return !strings.Contains(fmt.Sprint(specs), next) })
		harness.WantNoText(t, "status of home", home.CLI.Try("status").Stdout, "by the router")
	})
	home.Files.WriteConfig(harness.Edit(m.Config, "listenPort: 52000"))
	pcp.AwaitOutput("mapped " + at(52000))
	m.AwaitNoDiff()
	t.Run("where the mesh is taken down", func(t *testing.T) {
		home.CLI.Run("down")
		pcp.AwaitOutput("released " + at(52000))
	})
	t.Run("where it is taken down without an agent", func(t *testing.T) {
		home.Agent.Terminate()
		home.Files.WriteConfig(harness.Edit(m.Config, "listenPort: 52001"))
		home.Agent.Start()
		pcp.AwaitOutput("mapped " + at(52001))
		home.API.Await("healthstates", func(specs harness.Specs) bool {
			return strings.Contains(fmt.Sprint(specs), netip.AddrPortFrom(router.Address, nodecmd.FirstMapped+3).String())
		})
		home.Agent.Terminate()
		home.CLI.Run("down")
		pcp.AwaitOutput("released " + at(52001))
	})
}
