package discovery_test

import (
	"encoding/json"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/spanmesh/span/e2e/internal/harness"
	"github.com/spanmesh/span/e2e/interop"
)

// soon is how soon machines that come up at once must know each other.
const soon = 10 * time.Second

// wholeAfter matches what a crowd prints when it is whole.
var wholeAfter = regexp.MustCompile(`whole after (\S+)\n`)

// crowd is a process with many Talos machines in one lab node, so that all have one address.
type crowd struct {
	t *testing.T
	*harness.Process
}

func startCrowd(t *testing.T, m *harness.Mesh, c interop.Crowd) crowd {
	t.Helper()
	c.Target = net.JoinHostPort(m.Discovery.Address.String(), harness.DiscoveryPort)
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return crowd{t, m.Add("site").Exec.StartNodecmd("talos-crowd", string(text))}
}

// awaitWhole waits until the crowd is whole after the first bytes of its output, and returns
// how long that took. A refused machine is not until it has waited for half of its TTL.
func (c crowd) awaitWhole(from int) time.Duration {
	c.t.Helper()
	if _, err := c.Await(harness.Context(c.t), from, "whole after "); err != nil {
		c.t.Fatal(err)
	}
	match := wholeAfter.FindStringSubmatch(c.Output()[from:])
	if match == nil {
		c.t.Fatalf("no duration in:\n%s", c.Output()[from:])
	}
	took, err := time.ParseDuration(match[1])
	if err != nil {
		c.t.Fatal(err)
	}
	if text := c.Output(); strings.Contains(text, "refused") {
		c.t.Errorf("machines were refused:\n%s", text)
	}
	return took
}

func TestHundredTalosMachinesAtOneAddressAreWholeSoon(t *testing.T) {
	t.Parallel()
	m := harness.NewMesh(t, 0)
	m.Serve()
	c := startCrowd(t, m, interop.Crowd{Cluster: "crowd", Machines: 100, Harvested: 3})
	if took := c.awaitWhole(0); took > soon {
		t.Errorf("whole after %v, want %v", took, soon)
	}
}

// TestFiftyTalosMachinesAreWholeSoonAfterARestart restarts a server that has forgotten all.
func TestFiftyTalosMachinesAreWholeSoonAfterARestart(t *testing.T) {
	t.Parallel()
	m := harness.NewMesh(t, 0)
	m.Serve()
	c := startCrowd(t, m, interop.Crowd{Cluster: "crowd", Machines: 50, Harvested: 3})
	c.awaitWhole(0)
	before := len(c.Output())
	m.Server.Kill()
	c.AwaitOutput("parted")
	m.Serve()
	began := time.Now()
	c.awaitWhole(before)
	if took := time.Since(began); took > soon {
		t.Errorf("whole %v after the server served again, want %v", took, soon)
	}
}

// TestManyHarvestedEndpointsAreTaken has a machine that publishes endpoints of 200 others, one
// call each.
func TestManyHarvestedEndpointsAreTaken(t *testing.T) {
	t.Parallel()
	m := harness.NewMesh(t, 0)
	m.Serve()
	startCrowd(t, m, interop.Crowd{Cluster: "crowd", Machines: 1, Harvested: 200}).awaitWhole(0)
	answer := m.Call("List", `{"clusterId":"crowd"}`)
	var list struct {
		Affiliates []struct{ Endpoints []string }
	}
	if err := json.Unmarshal([]byte(answer.Body), &list); err != nil {
		t.Fatalf("%v: %+v", err, answer)
	}
	for _, a := range list.Affiliates {
		if len(a.Endpoints) != 1 {
			t.Errorf("an affiliate has the endpoints %q", a.Endpoints)
		}
	}
	if n := len(list.Affiliates); n != 201 {
		t.Errorf("%d affiliates, want 201", n)
	}
}
