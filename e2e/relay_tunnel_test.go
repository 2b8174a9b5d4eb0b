package e2e_test

import (
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/spanmesh/span/e2e/internal/harness"
	"github.com/spanmesh/span/e2e/internal/nodecmd"
	"github.com/spanmesh/span/e2e/lab"
)

// TestTunnelsOutliveTheAgent has a machine reach the relay over TLS, as its network lets no UDP through.
func TestTunnelsOutliveTheAgent(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "a machine that reaches the relay over TLS loses no packet while its agent is restarted, upgraded or killed, nor on its way back to UDP")
	harness.SkipInGuest(t, "its emulated processor is late by seconds, and streams drop packets while nothing happens")
	m := harness.NewMesh(t, 0)
	certificate, key := m.Discovery.Files.Certificate()
	m.Server = m.Discovery.CLI.Start("discovery", "serve", "--listen", ":"+harness.DiscoveryPort, "--tls-cert", certificate, "--tls-key", key,
		"--store", "memory", "--relay", ":51821", "--state-dir", m.Discovery.Dir)
	m.Server.AwaitOutput("serving discovery")
	m.Config = strings.Replace(m.Config, "http://", "https://", 1) +
		"\ncluster: discovery: registries: service: ca: " + strconv.Quote(m.Discovery.Files.Read(certificate)) + "\n"
	one, two := m.AddBehindNAT(lab.Symmetric, "one"), m.AddBehindNAT(lab.Symmetric, "two")
	block := func() { m.RouterOf(one).Exec.Nodecmd("block", "udp", "51821", "in") }
	block()
	for _, machine := range m.Machines {
		machine.Agent.Start()
	}
	endpoint := ""
	at := func(address string) func(map[string]any) bool {
		return func(spec map[string]any) bool {
			endpoint, _ = spec["endpoint"].(string)
			host, _, _ := net.SplitHostPort(endpoint)
			return harness.IsUp(spec) && spec["blindRelay"] != nil && host == address
		}
	}
	one.API.AwaitPeer("two", at("127.0.0.1"))
	two.API.AwaitPeer("one", at(m.Discovery.Address.String()))
	one.Packets.Ping(two.API.MeshAddress())
	two.Packets.Ping(one.API.MeshAddress())
	one.API.AwaitPeer("two", at("127.0.0.1"))
	before := endpoint

	lossless := func(t *testing.T, do func()) {
		t.Helper()
		there, back := one.Packets.KeepPinging(two.API.MeshAddress()), two.Packets.KeepPinging(one.API.MeshAddress())
		do()
		for name, pinging := range map[string]*harness.Pinging{"one to two": there, "two to one": back} {
			pings := pinging.Stop()
			t.Logf("%s: %d of %d pings lost", name, pings.Lost(), pings.Sent)
			if pings.Lost() > 0 {
				t.Errorf("%s: %d of %d pings were lost", name, pings.Lost(), pings.Sent)
			}
		}
	}
	t.Run("nothing happens", func(t *testing.T) {
		lossless(t, func() { one.Packets.PingMany(two.API.MeshAddress(), 200) })
	})
	for name, end := range map[string]func(){
		"the agent starts again": func() { one.Agent.Terminate() }, "the agent is killed": func() { one.Agent.Kill() },
	} {
		t.Run(name, func(t *testing.T) {
			lossless(t, func() {
				for range 2 {
					end()
					one.Agent.Start()
					one.API.AwaitPeer("two", at("127.0.0.1"))
					awaitPing(one, two)
				}
			})
			if endpoint != before {
				t.Errorf("the endpoint is %s, and was %s", endpoint, before)
			}
		})
	}
	m.AwaitNoDiff()
	t.Run("UDP is let through", func(t *testing.T) {
		lossless(t, func() {
			m.RouterOf(one).Exec.Nodecmd("delete-table", nodecmd.BlockTable)
			one.API.AwaitPeer("two", at(m.Discovery.Address.String()))
			awaitPing(one, two)
			awaitPing(two, one)
		})
	})
	t.Run("the mesh is taken down", func(t *testing.T) {
		sockets := func() []string {
			found, err := filepath.Glob(filepath.Join(one.Dir, "*-tunnels.sock"))
			if err != nil {
				t.Fatal(err)
			}
			return found
		}
		if found := sockets(); len(found) != 1 {
			t.Errorf("the sockets of the process are %v", found)
		}
		one.Agent.Terminate()
		one.CLI.Run("down")
		if found := sockets(); len(found) != 0 {
			t.Errorf("after it, there are %v", found)
		}
	})
}

// awaitPing waits for the answer to an echo that is sent now.
func awaitPing(from, to *harness.Machine) { from.Packets.Ping(to.API.MeshAddress()) }
