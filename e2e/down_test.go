package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spanmesh/span/e2e/internal/harness"
)

// TestDownLeavesNothingBehind compares the whole network before a mesh is up and after it
// was taken down, on a machine where other programs have objects as well.
func TestDownLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "the mesh is taken down and leaves nothing behind")
	m := harness.NewMesh(t, 2)
	m.Serve()
	node, other := m.Machines[0], m.Machines[1]
	node.Net.AddForeignObjects()
	before := node.Net.Inventory()
	other.Agent.Start()
	check := func(t *testing.T) {
		t.Helper()
		if diff := cmp.Diff(before, node.Net.Inventory()); diff != "" {
			t.Errorf("the network before and after (-before +after):\n%s", diff)
		}
		if sockets := node.Exec.Nodecmd("sockets"); sockets != "" {
			t.Errorf("WireGuard control sockets are left:\n%s", sockets)
		}
		if processes := node.Exec.Nodecmd("processes"); processes != "" {
			t.Errorf("WireGuard processes are left:\n%s", processes)
		}
	}

	t.Run("with an agent", func(t *testing.T) {
		node.Agent.Start()
		node.API.AwaitPeersUp(1)
		if node.Net.Inventory() == before {
			t.Fatal("the inventory does not show the mesh")
		}
		node.CLI.Run("down")
		check(t)
		if out := node.CLI.Run("down"); out != "nothing to take down\n" {
			t.Errorf("the second down printed:\n%s", out)
		}
		node.Agent.Terminate()
	})
	t.Run("without an agent", func(t *testing.T) {
		node.CLI.Run("apply", "-f", node.Config(), "--immediate")
		node.CLI.Run("down")
		check(t)
	})
	t.Run("after settings changed while no agent ran", func(t *testing.T) {
		config := node.Files.Config()
		for _, c := range []struct{ setting, shown string }{
			{"rulePriority: 32400", "- rule ipv4 32500"},
			{"routingTable: 190", "- route"},
			{`interfaceName: "mesh0"`, "- link kubespan"},
		} {
			node.Files.WriteConfig(config)
			node.CLI.Run("apply", "-f", node.Config(), "--immediate")
			changed := harness.Edit(config, c.setting)
			node.CLI.Try("diff", "-f", node.Files.Write("changed.cue", changed), "-o", "text").WantStatus(t, 1).WantStdout(t, c.shown)
			node.Files.WriteConfig(changed)
			node.Agent.Start()
			node.API.AwaitPeersUp(1)
			node.CLI.Try("diff").WantStatus(t, 0)
			if out := node.CLI.Try("status").Stdout; strings.Contains(out, "Mark") {
				t.Errorf("%s: the status names a mark:\n%s", c.setting, out)
			}
			node.Agent.Terminate()
			node.CLI.Run("down")
			check(t)
		}
		node.Files.WriteConfig(config)
	})
	t.Run("after the agent was stopped", func(t *testing.T) {
		node.Agent.Start()
		node.API.AwaitPeersUp(1)
		node.Agent.Terminate()
		node.CLI.Run("down")
		check(t)
		other.API.Await("kubespanpeerspecs", func(specs harness.Specs) bool { return len(specs) == 0 })
	})
}

// TestDownFindsItsMesh takes a mesh down whose config, history or state directory are lost, beside a
// mesh of another state directory.
func TestDownFindsItsMesh(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "a mesh is taken down without its config or its state; another on the machine stays")
	m := harness.NewMesh(t, 1)
	m.Serve()
	node := m.Machines[0]
	empty := node.Net.Inventory()
	config := harness.Edit(m.Config, "interfaceName: \"second0\"\n\tlistenPort: 51830\n\tfwmark: 0x200\n\troutingTable: 190\n\trulePriority: 32490")
	second := node.Files.Write("second.cue", config)
	apply := node.CLI.Command("apply", "-f", second, "--immediate", "--state-dir", node.Dir+"/second")
	apply.Env = append(apply.Environ(), "SPANCTL_CONFIG="+second)
	node.Exec.Finish(apply).WantStatus(t, 0)
	others := node.Net.Inventory()
	if others == empty {
		t.Fatal("the inventory does not show the second mesh")
	}
	remove := func(paths ...string) {
		for _, path := range paths {
			if err := os.RemoveAll(path); err != nil {
				t.Fatal(err)
			}
		}
	}
	history := filepath.Join(node.StateDir(), "history")
	for _, c := range []struct {
		name string
		lose func()
		// told is set where discovery can be left.
		told bool
	}{
		{"the config file is gone", func() { remove(node.Config()) }, true},
		{"the config file and the history are gone", func() { remove(node.Config(), history) }, false},
		{"the config file is not valid, and the history is gone", func() { remove(history); node.Files.WriteConfig("machine: 7\n") }, false},
		{"the config file is a directory, and the history is gone", func() {
			remove(history, node.Config())
			if err := os.Mkdir(node.Config(), 0o700); err != nil {
				t.Fatal(err)
			}
		}, false},
		{"the config file and the state directory are gone", func() { remove(node.Config(), node.StateDir()) }, false},
		{"the link has another name, and the config file and the history are gone", func() {
			node.Exec.Nodecmd("rename-link", "kubespan", "renamed")
			remove(node.Config(), history)
		}, false},
	} {
		for _, agent := range []bool{false, true} {
			t.Run(c.name+map[bool]string{false: " without an agent", true: " with an agent"}[agent], func(t *testing.T) {
				remove(node.Config())
				node.Files.WriteConfig(m.Config)
				node.CLI.Run("apply", "-f", node.Config(), "--immediate")
				c.lose()
				if agent {
					node.Agent.Start()
				}
				o := node.CLI.Try("down")
				o.WantStatus(t, 0)
				o.WantStdout(t, "- link ")
				if told := !strings.Contains(o.Stderr, "discovery was not left"); told != c.told {
					t.Errorf("told is %v, want %v:\n%s", told, c.told, o.Stderr)
				}
				if diff := cmp.Diff(others, node.Net.Inventory()); diff != "" {
					t.Errorf("the network with the second mesh alone and after (-want +got):\n%s", diff)
				}
				if out := node.CLI.Run("down"); out != "nothing to take down\n" {
					t.Errorf("the second down printed:\n%s", out)
				}
				if agent {
					node.Agent.Terminate()
				}
			})
		}
	}

	node.CLI.Try("down", "--link", "third0").WantStatus(t, 1).WantStderr(t, "there are second0")
	node.CLI.Try("down").WantStatus(t, 0).WantStderr(t, "link second0 belongs to the state directory "+node.Dir+"/second, and stays")
	node.CLI.Run("down", "--link", "second0")
	if diff := cmp.Diff(empty, node.Net.Inventory()); diff != "" {
		t.Errorf("the network before and after (-before +after):\n%s", diff)
	}
}

// TestWithoutAgents makes a mesh of two machines with commands alone.
func TestWithoutAgents(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "two machines mesh without agents, with commands alone")
	m := harness.NewMesh(t, 2)
	m.Serve()
	// The first publishes itself, the second finds it, and the first finds the second when it
	// runs again.
	for _, machine := range []*harness.Machine{m.Machines[0], m.Machines[1], m.Machines[0]} {
		machine.CLI.Run("apply", "-f", machine.Config(), "--immediate")
	}
	address := m.Machines[0].Net.MeshAddress()
	m.Machines[1].Packets.Ping(address)
	for _, machine := range m.Machines {
		machine.CLI.Try("diff").WantStatus(t, 0)
	}

	t.Run("an agent takes over without losing a packet", func(t *testing.T) {
		pinging := m.Machines[1].Packets.KeepPinging(address)
		for _, machine := range m.Machines {
			machine.Agent.Start()
		}
		m.AwaitUp()
		if pings := pinging.Stop(); pings.Lost() > 0 {
			t.Errorf("%d of %d pings were lost", pings.Lost(), pings.Sent)
		}
	})
}

// TestNobodyIsTold has a machine that reaches no other by any registry.
func TestNobodyIsTold(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "a machine changes while it can tell no other machine")
	m := harness.NewMesh(t, 1) // the discovery server does not run
	node := m.Machines[0]

	t.Run("a single pass warns", func(t *testing.T) {
		node.CLI.Try("apply", "-f", node.Config(), "--immediate").WantStatus(t, 0).WantStderr(t, "the other machines were not told of this one")
	})
	t.Run("the key stays", func(t *testing.T) {
		node.CLI.Try("rotate-key").WantStatus(t, 1).WantStderr(t, "the key was not changed")
	})
	t.Run("the key stays where only static peers are configured", func(t *testing.T) {
		node.Files.WriteConfig(m.Config + `
cluster: discovery: registries: service: disabled: true
cluster: discovery: registries: static: peers: [{name: "phone", publicKey: "NzW8oeIH5rJyY5lefD9WRoHWWRr/Q6DwsDjMX+xKjT4=", allowedIPs: ["10.7.0.1/32"]}]
`)
		o := node.CLI.Try("apply", "-f", node.Config(), "--immediate")
		o.WantStatus(t, 0)
		harness.WantNoText(t, "apply", o.Stderr, "not told")
		node.CLI.Try("rotate-key").WantStatus(t, 1).WantStderr(t, "the config has no registry to publish this machine in")
		before := node.Exec.Nodecmd("public-key")
		node.CLI.Try("rotate-key", "--force").WantStatus(t, 0).WantStderr(t, "by hand to the peers without an agent: phone")
		if node.Exec.Nodecmd("public-key") == before {
			t.Error("--force did not change the key")
		}
	})
	t.Run("the key stays where the Kubernetes registry alone is wanted and not reached", func(t *testing.T) {
		kubeconfig := node.Files.Write("kubeconfig", `{"apiVersion": "v1", "kind": "Config", "current-context": "a",
			"contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}], "users": [{"name": "a", "user": {"token": "t"}}],
			"clusters": [{"name": "a", "cluster": {"server": "https://127.0.0.1:6443"}}]}`)
		node.Files.WriteConfig(m.Config + fmt.Sprintf(`
cluster: discovery: registries: service: disabled: true
cluster: discovery: registries: kubernetes: {disabled: false, kubeconfig: %q, nodeName: "node-1"}
`, kubeconfig))
		for _, agent := range []bool{false, true} {
			if agent {
				node.Agent.Start()
				node.API.AwaitIdentity()
			} else {
				node.CLI.Run("apply", "-f", node.Config(), "--immediate")
			}
			before := node.Exec.Nodecmd("public-key")
			node.CLI.Try("rotate-key").WantStatus(t, 1).WantStderr(t, "the key was not changed, because no other machine would learn the new one")
			if node.Exec.Nodecmd("public-key") != before {
				t.Error("the key was changed")
			}
		}
		before := node.Exec.Nodecmd("public-key")
		node.CLI.Try("rotate-key", "--force").WantStatus(t, 0).WantStderr(t, "refuse this one until they have its new key")
		if node.Exec.Nodecmd("public-key") == before {
			t.Error("--force did not change the key")
		}
		node.CLI.Try("reset-identity", "--yes").WantStatus(t, 0).WantStderr(t, "the other machines were not told of this one")
		node.Agent.Terminate()
	})
	t.Run("down with an agent warns", func(t *testing.T) {
		node.Files.WriteConfig(m.Config)
		node.Agent.Start()
		node.API.AwaitIdentity()
		node.CLI.Try("down").WantStatus(t, 0).WantStderr(t, "the other machines were not told")
	})
}
