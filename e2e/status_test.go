package e2e_test

import (
	"encoding/json"
	"testing"

	"github.com/spanmesh/span/e2e/internal/harness"
)

// healthOf returns what `spanctl status -o json` prints on a machine.
func healthOf(t *testing.T, node *harness.Machine) (health struct {
	APIVersion, State, Hostname, Version string
	Ready, Live                          bool
	Mesh                                 struct {
		Link, Address, Wireguard string
		Port, MTU                int
	}
	Cluster struct {
		Fingerprint string
		Machines    int
	}
	Config     struct{ Path, Since string }
	Conditions []struct{ Code, Severity, Subject, Cause, Remedy, Since, Doc string }
	Peers      []struct {
		Name, PublicKey, State, Path, LastHandshake string
		ReceivedBytes, TransmittedBytes             int64
	}
}) {
	t.Helper()
	o := node.CLI.Try("status", "-o", "json")
	if err := json.Unmarshal([]byte(o.Stdout), &health); err != nil {
		t.Fatalf("%v\n%s%s", err, o.Stdout, o.Stderr)
	}
	return health
}

// awaitHealth waits until a machine is in a state.
func awaitHealth(node *harness.Machine, state string) {
	node.API.Await("health", func(specs harness.Specs) bool { return specs["machine"]["state"] == state })
}

// TestStatus brings a mesh of three into each state.
func TestStatus(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "`spanctl status` names each state of a mesh, with its exit status")
	m := harness.StartMesh(t, 3)
	m.AwaitUp()
	node := m.Machines[0]
	awaitHealth(node, "healthy")
	o := node.CLI.Try("status").WantStatus(t, 0).WantStdout(t, "node-1     healthy, ", "\nmesh       kubespan fd", "UDP 51820, MTU 1420",
		"\ncluster    ", ", 3 machines\n", "\nconfig     machine.cue in force since ", "\nPEER    STATE  PATH", "\nnode-2  up     "+m.Machines[1].Address.String()+":51820", "\nnode-3  up ")
	t.Log(o.Stdout)
}
