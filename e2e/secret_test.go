package e2e_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// secretLine matches the cluster's secret in a config.
var secretLine = regexp.MustCompile(`secret: *"(.*)"`)

// TestSecretIsKeptElsewhere has a config that could be public: it says where the
// secret is.
func TestSecretIsKeptElsewhere(t *testing.T) {
	scenario(t, "the cluster's secret is in a file of its own")
	m := newMesh(t, 2)
	node, other := m.machines[0], m.machines[1]
	secret := secretLine.FindStringSubmatch(m.config)[1]
	file := node.file("secret", secret+"\n")
	public := secretLine.ReplaceAllString(m.config, `secret: file: "`+file+`"`)
	node.write(public)
	m.start()
	m.awaitUp()
	node.ping(other.meshAddress())
	m.diffsAreClean()
	if strings.Contains(node.agent.Output(), secret) {
		t.Error("the agent's log shows the secret")
	}

	t.Run("a secret that is gone leaves the config in force", func(t *testing.T) {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		if o := node.try("reload"); o.status != 1 || !strings.Contains(o.stderr, file+": cannot be read: no such file or directory") {
			t.Errorf("status %d\n%s%s", o.status, o.stdout, o.stderr)
		}
		node.ping(other.meshAddress())
	})
	t.Run("also without an agent, out of the environment", func(t *testing.T) {
		stop(t, node.agent)
		cmd := node.Spanctl(withPatience(t), "apply", "--immediate", "-f",
			node.file("env.cue", secretLine.ReplaceAllString(m.config, `secret: env: "CLUSTER_SECRET"`)))
		cmd.Env = append(cmd.Env, "CLUSTER_SECRET="+secret)
		if o := node.finish(cmd); o.status != 0 || o.stdout != "no changes\n" {
			t.Errorf("status %d\n%s%s", o.status, o.stdout, o.stderr)
		}
		node.ping(other.meshAddress())
	})
}
