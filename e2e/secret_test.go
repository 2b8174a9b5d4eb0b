package e2e_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/spanmesh/span/e2e/internal/harness"
)

// secretLine matches the cluster's secret in a config.
var secretLine = regexp.MustCompile(`secret: *"(.*)"`)

// TestSecretInAFile has a config that could be public: it names the file of the secret.
func TestSecretInAFile(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "the cluster's secret is in a file of its own")
	m := harness.NewMesh(t, 2)
	node, other := m.Machines[0], m.Machines[1]
	secret := secretLine.FindStringSubmatch(m.Config)[1]
	file := node.Files.Write("secret", secret+"\n")
	public := secretLine.ReplaceAllString(m.Config, `secret: file: "`+file+`"`)
	node.Files.WriteConfig(public)
	m.Start()
	m.AwaitUp()
	node.Packets.Ping(other.API.MeshAddress())
	m.AwaitNoDiff()
	if strings.Contains(node.Agent.Output(), secret) {
		t.Error("the agent's log shows the secret")
	}

	t.Run("a missing secret leaves the config in force", func(t *testing.T) {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		node.CLI.Try("reload").WantStatus(t, 1).WantStderr(t, file+": cannot be read: no such file or directory")
		node.Packets.Ping(other.API.MeshAddress())
	})
	t.Run("without an agent, from the environment", func(t *testing.T) {
		node.Agent.Terminate()
		cmd := node.Spanctl(harness.Context(t), "apply", "--immediate", "-f",
			node.Files.Write("env.cue", secretLine.ReplaceAllString(m.Config, `secret: env: "CLUSTER_SECRET"`)))
		cmd.Env = append(cmd.Env, "CLUSTER_SECRET="+secret)
		node.Exec.Finish(cmd).WantStatus(t, 0).WantOutput(t, "no changes\n")
		node.Packets.Ping(other.API.MeshAddress())
	})
}
