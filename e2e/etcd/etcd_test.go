package etcd_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/spanmesh/span/e2e/internal/harness"
)

// TestTwoServersOnEtcd kills one of two servers that share an etcd.
func TestTwoServersOnEtcd(t *testing.T) {
	t.Parallel()
	m := harness.NewMesh(t, 2)
	url := harness.StartEtcd(m.Add("etcd"))
	second := m.Add("discovery-2")
	m.Serve("--store", "etcd:"+url)
	other := second.CLI.Start("discovery", "serve", "--listen", ":"+harness.DiscoveryPort, "--insecure", "--store", "etcd:"+url)
	other.AwaitOutput("serving discovery")

	both := fmt.Sprintf("registries: service: endpoints: [%q, %q]", m.Endpoint(), harness.URL(second))
	config := strings.Replace(m.Config, fmt.Sprintf("registries: service: endpoint: %q", m.Endpoint()), both, 1)
	onlySecond := strings.Replace(m.Config, m.Endpoint(), harness.URL(second), 1)

	// What one server is told reaches the watchers of the other.
	m.Machines[1].Files.WriteConfig(onlySecond)
	for _, machine := range m.Machines {
		machine.Agent.Start()
	}
	m.AwaitUp()

	m.Machines[0].Agent.AwaitAfter(func() { m.Machines[0].Files.WriteConfig(config) }, "config file changed")
	m.Machines[0].API.AwaitPeersUp(1)
	m.Server.Kill()
	late := m.Add("late")
	late.Files.WriteConfig(config)
	late.Agent.Start()
	m.Machines[0].API.AwaitMember("late")
	m.Machines = append(m.Machines, late)
	m.AwaitUp()

	t.Run("the server reports that it is ready", func(t *testing.T) {
		second.Exec.Get(harness.URL(second)+"/readyz").WantBody(t, http.StatusOK, "ok")
	})
}
