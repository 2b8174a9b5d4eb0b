package kubernetes_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/spanmesh/span/e2e/internal/harness"
)

// TestClonedMachine copies the state directory of a machine to another, which publishes
// itself on a Node of its own, and then on that of the original.
func TestClonedMachine(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "a cloned machine is seen in Kubernetes, on a Node of its own and on that of the original")
	m := harness.NewMesh(t, 2)
	c := startCluster(t, m.Discovery)
	account := c.account()
	for _, machine := range m.Machines {
		c.addNode(machine.Name)
		machine.Files.WriteConfig(inKubernetes(m, account, false))
		machine.Agent.Start()
	}
	m.AwaitUp()
	original, clone := m.Machines[0], m.Add("clone")
	c.addNode(clone.Name)
	copyState := func() { clone.Files.CopyState(original) }
	awaitCloned := func(machine, other *harness.Machine) {
		machine.API.Await("conditions", func(specs harness.Specs) bool {
			for _, spec := range specs {
				if spec["code"] == "IdentityCloned" && strings.Contains(fmt.Sprint(spec), other.Address.String()) {
					return true
				}
			}
			return false
		})
	}
	awaitNone := func(machine *harness.Machine) {
		machine.API.AwaitNoConditions()
	}

	copyState()
	clone.Files.WriteConfig(inKubernetes(m, account, false))
	clone.Agent.Start()
	awaitCloned(original, clone)
	awaitCloned(clone, original)
	clone.CLI.Run("reset-identity", "--yes")
	awaitNone(original)
	awaitNone(clone)
	clone.API.AwaitPeersUp(2)
	original.API.AwaitPeersUp(2)

	t.Run("on the Node of the original", func(t *testing.T) {
		clone.CLI.Run("down")
		clone.Agent.Terminate()
		if err := os.RemoveAll(clone.StateDir()); err != nil {
			t.Fatal(err)
		}
		copyState()
		clone.Files.WriteConfig(strings.Replace(inKubernetes(m, account, false), "kubernetes: {", `kubernetes: {nodeName: "node-1", `, 1))
		clone.Agent.Start()
		awaitCloned(original, clone)
		awaitCloned(clone, original)
		clone.CLI.Run("reset-identity", "--yes")
		for _, machine := range []*harness.Machine{original, clone} {
			found := machine.API.AwaitCondition("NodeShared")
			harness.WantText(t, "the condition", fmt.Sprint(found), "severity:error", "node-1", "nodeName")
			machine.CLI.Try("status").WantStatus(t, 2)
		}
		clone.Files.WriteConfig(inKubernetes(m, account, false))
		awaitNone(clone) // the original says so for some minutes more
	})
}
