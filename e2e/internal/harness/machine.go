package harness

import (
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/spanmesh/span/e2e/lab"
)

// Machine is a node of the lab and what a test does with it.
type Machine struct {
	*lab.Node

	CLI     CLI
	Agent   *Agent
	API     API
	Files   Files
	Net     Net
	Packets Packets
	Exec    Exec

	t      *testing.T
	binary string
}

// NewMachine makes a machine of a node that runs the binary.
func NewMachine(t *testing.T, node *lab.Node, binary string) *Machine {
	m := &Machine{Node: node, t: t, binary: binary}
	m.CLI = CLI{m}
	m.Agent = &Agent{machine: m}
	m.API = API{m}
	m.Files = Files{m}
	m.Net = Net{m}
	m.Packets = Packets{m}
	m.Exec = Exec{m}
	return m
}

// Binary returns the path of the spanctl that the machine runs.
func (m *Machine) Binary() string { return m.binary }

// AddPod adds a pod behind the machine. Its link has the MTU of mtu.env, which the agent
// writes for network plugins.
func (m *Machine) AddPod(name string, networks ...string) *Machine {
	m.t.Helper()
	return m.AddPodWithMTU(name, EnvNumber(m.t, filepath.Join(m.Dir, "mtu.env"), "SPANCTL_MTU"), networks...)
}

// AddPodWithMTU adds a pod behind the machine whose link has the MTU, in bytes.
func (m *Machine) AddPodWithMTU(name string, mtu int, networks ...string) *Machine {
	m.t.Helper()
	prefixes := make([]netip.Prefix, len(networks))
	for i, network := range networks {
		prefixes[i] = netip.MustParsePrefix(network)
	}
	node, err := m.Node.AddPod(name, mtu, prefixes...)
	if err != nil {
		m.t.Fatal(err)
	}
	return NewMachine(m.t, node, m.binary)
}

// EnvNumber returns a number from a file of NAME=VALUE lines.
func EnvNumber(t *testing.T, path, name string) int {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		value, found := strings.CutPrefix(line, name+"=")
		if !found {
			continue
		}
		number, err := strconv.Atoi(strings.TrimSpace(value))
		if err != nil {
			t.Fatal(err)
		}
		return number
	}
	t.Fatalf("%s has no %s:\n%s", path, name, text)
	return 0
}
