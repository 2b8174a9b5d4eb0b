package etcd_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
	"testing"

	"github.com/spanmesh/span/e2e/internal/harness"
)

// TestInvitationsAreCountedOverTwoServers has 100 machines ask at once for an invitation for ten, half
// of them at either of two servers that share an etcd. One of the servers then ends.
func TestInvitationsAreCountedOverTwoServers(t *testing.T) {
	t.Parallel()
	const machines, uses = 100, 10
	m := harness.NewMesh(t, 1)
	url := harness.StartEtcd(m.Add("etcd"))
	second := m.Add("discovery-2")
	m.Serve("--store", "etcd:"+url)
	second.CLI.Start("discovery", "serve", "--listen", ":"+harness.DiscoveryPort, "--insecure", "--store", "etcd:"+url).AwaitOutput("serving discovery")
	member := m.Machines[0]
	member.CLI.Run("invite", "--uses", strconv.Itoa(uses))
	var list struct{ Items []struct{ Name string } }
	if err := json.Unmarshal([]byte(member.CLI.Run("invite", "list", "-o", "json")), &list); err != nil || len(list.Items) != 1 {
		t.Fatalf("the invitations are %v, %v", list, err)
	}

	var told map[string]int
	out := m.Add("crowd").Exec.Nodecmd("take", list.Items[0].Name, strconv.Itoa(machines), m.Endpoint(), harness.URL(second))
	if err := json.Unmarshal([]byte(out), &told); err != nil {
		t.Fatal(err)
	}
	refusal := fmt.Sprintf("failed_precondition: the invitation was for %d uses, and is used up", uses)
	if want := map[string]int{"taken": uses, refusal: machines - uses}; !maps.Equal(told, want) {
		t.Errorf("the machines were told %v, want %v", told, want)
	}
	harness.WantText(t, "the list", member.CLI.Run("invite", "list"), "10 of 10   used")

	// What one server has counted the other knows.
	m.Server.Kill()
	onlySecond := harness.URL(second)
	out = second.Exec.Nodecmd("take", list.Items[0].Name, "1", onlySecond)
	harness.WantText(t, "a machine that comes later", out, refusal)
}
