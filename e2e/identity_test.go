package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/spanmesh/span/e2e/internal/harness"
)

// published is what the discovery server has of a machine.
type published struct {
	ID        string   `json:"id"`
	Data      string   `json:"data"`
	Endpoints []string `json:"endpoints"`
}

// publishedOf returns what the discovery server has of a machine; the zero value for nothing.
func publishedOf(t *testing.T, m *harness.Mesh, machine *harness.Machine) published {
	t.Helper()
	answer := m.Call("List", fmt.Sprintf(`{"clusterId":%q}`, m.Value("id")))
	answer.WantBody(t, http.StatusOK, "")
	var list struct {
		Affiliates []published `json:"affiliates"`
	}
	if err := json.Unmarshal([]byte(answer.Body), &list); err != nil {
		t.Fatal(err)
	}
	id := machine.Files.NodeID()
	for _, a := range list.Affiliates {
		if a.ID == id {
			return a
		}
	}
	return published{}
}

// put writes the data of an affiliate to the discovery server, as anyone can who knows the
// cluster's ID.
func put(t *testing.T, m *harness.Mesh, id, data string) {
	t.Helper()
	m.Call("AffiliateUpdate", fmt.Sprintf(`{"clusterId":%q,"affiliateId":%q,"affiliateData":%q,"ttl":"600s"}`, m.Value("id"), id, data)).
		WantBody(t, http.StatusOK, "")
}

// awaitPublished waits until the machine has published something that is none of the given,
// with its endpoints.
func awaitPublished(t *testing.T, m *harness.Mesh, machine *harness.Machine, unwanted ...string) {
	t.Helper()
	ctx := harness.Context(t)
	for began := time.Now(); ; {
		now := publishedOf(t, m, machine)
		if now.Data != "" && len(now.Endpoints) > 0 && !strings.Contains(strings.Join(unwanted, " "), now.Data) {
			t.Logf("published again after %v", time.Since(began).Round(time.Millisecond))
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("the server still has %+v of %s", now, machine.Name)
		case <-time.After(100 * time.Millisecond): // the server takes 15 calls a second
		}
	}
}

// TestAffiliateOfALiveMachine deletes and replaces a machine's affiliate in every way while
// its peers send to it.
func TestAffiliateOfALiveMachine(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "the affiliate of a live machine is deleted, replaced, or put back in an older copy: its peers lose no packet")
	m := harness.StartMesh(t, 3)
	m.AwaitUp()
	node, peers := m.Machines[0], m.Machines[1:]
	id, address, key := node.Files.NodeID(), node.API.MeshAddress(), node.API.PublicKey()
	cluster := m.Value("id")
	old := publishedOf(t, m, node)
	var pinging []*harness.Pinging
	for _, peer := range peers {
		pinging = append(pinging, peer.Packets.KeepPinging(address))
	}
	remove := func() {
		m.Call("AffiliateDelete", fmt.Sprintf(`{"clusterId":%q,"affiliateId":%q}`, cluster, id)).WantBody(t, http.StatusOK, "")
	}
	for _, change := range []struct {
		name string
		do   func()
	}{
		{"discovery rm", func() { peers[0].CLI.Run("discovery", "rm", "--force", id, "-f", peers[0].Config()) }},
		{"an older copy is put back", func() { put(t, m, id, old.Data) }},
		{"replaced by another machine's", func() { put(t, m, id, publishedOf(t, m, peers[0]).Data) }},
		{"deleted by hand and put back in an older copy", func() { remove(); put(t, m, id, old.Data) }},
	} {
		t.Log(change.name)
		before := publishedOf(t, m, node)
		change.do()
		awaitPublished(t, m, node, before.Data, old.Data, publishedOf(t, m, peers[0]).Data)
	}
	for _, p := range pinging {
		if pings := p.Stop(); pings.Lost() > 0 {
			t.Errorf("%d of %d packets were lost", pings.Lost(), pings.Sent)
		}
	}
	for _, peer := range peers {
		peer.API.AwaitPeersUp(2)
		harness.WantText(t, "the peers of "+peer.Name, peer.Exec.Nodecmd("peers"), key)
	}
	node.API.AwaitNoConditions()
	m.AwaitNoDiff()

	t.Run("the server loses its store", func(t *testing.T) {
		pinging := peers[0].Packets.KeepPinging(address)
		m.Server.Kill()
		m.Serve()
		late := m.Join(m.Add("late"))
		late.Agent.Start()
		m.AwaitUp()
		if pings := pinging.Stop(); pings.Lost() > 0 {
			t.Errorf("%d of %d packets were lost", pings.Lost(), pings.Sent)
		}
	})
}

// TestOldKeyIsPutBack puts a machine's affiliate with its old key back: while the machine
// runs, while it is stopped, and after its peers were restarted.
func TestOldKeyIsPutBack(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "after rotate-key, peers refuse older copies of the machine's affiliate, also after a restart")
	m := harness.StartMesh(t, 3)
	m.AwaitUp()
	node, peers := m.Machines[0], m.Machines[1:]
	id, oldKey, old := node.Files.NodeID(), node.API.PublicKey(), publishedOf(t, m, node)
	node.CLI.Run("rotate-key")
	newKey := node.API.PublicKey()
	keepsNewKey := func() {
		t.Helper()
		m.AwaitUp()
		for _, peer := range peers {
			found := peer.Exec.Nodecmd("peers")
			harness.WantText(t, "the peers of "+peer.Name, found, newKey)
			harness.WantNoText(t, "the peers of "+peer.Name, found, oldKey)
		}
	}
	for _, peer := range peers {
		peer.API.Await("kubespanpeerspecs", func(specs harness.Specs) bool { return specs[newKey] != nil && specs[oldKey] == nil })
	}
	m.AwaitUp()
	refused := func(spec map[string]any) bool {
		reason, _ := spec["refused"].(string)
		return strings.Contains(reason, "is an older copy, published at")
	}
	pinging := peers[0].Packets.KeepPinging(node.API.MeshAddress())
	before := publishedOf(t, m, node)
	put(t, m, id, old.Data)
	for _, peer := range peers {
		peer.API.Await("affiliates", func(specs harness.Specs) bool { return refused(specs[id]) })
		harness.WantText(t, "the events of "+peer.Name, peer.CLI.Run("get", "events"), "AffiliateRefused")
	}
	awaitPublished(t, m, node, before.Data, old.Data)
	keepsNewKey()

	// Nobody publishes it again now.
	node.Agent.Terminate()
	put(t, m, id, old.Data)
	peers[0].Agent.Terminate()
	peers[0].Agent.Start()
	peers[0].API.Await("affiliates", func(specs harness.Specs) bool { return refused(specs[id]) })
	for _, peer := range peers {
		peer.API.AwaitPeersUp(2)
	}
	if pings := pinging.Stop(); pings.Lost() > 0 {
		t.Errorf("%d of %d packets were lost", pings.Lost(), pings.Sent)
	}
	node.Agent.Start()
	keepsNewKey()
	m.AwaitNoDiff()
}

// TestClonedMachine copies the state directory of a machine to another.
func TestClonedMachine(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "a disk is cloned with its state: both machines are told, and reset-identity makes the copy a member of its own")
	m := harness.StartMesh(t, 2)
	m.AwaitUp()
	original, third := m.Machines[0], m.Machines[1]
	clone := m.Join(m.Add("clone"))
	clone.Files.CopyState(original)
	clone.Agent.Start()
	for _, c := range []struct{ machine, other *harness.Machine }{{original, clone}, {clone, original}} {
		c.machine.API.Await("conditions", func(specs harness.Specs) bool {
			for _, spec := range specs {
				if text := fmt.Sprint(spec); spec["code"] == "IdentityCloned" && strings.Contains(text, c.other.Name) &&
					strings.Contains(text, c.other.Address.String()) && strings.Contains(text, "spanctl reset-identity") {
					return true
				}
			}
			return false
		})
		c.machine.CLI.Try("diff").WantStatus(t, 1).WantStderr(t, "IdentityCloned "+c.other.Name)
	}

	before := original.Files.NodeID()
	clone.CLI.Try("reset-identity").WantStatus(t, 1).WantStderr(t, "give --yes")
	out := clone.CLI.Run("reset-identity", "--yes")
	harness.WantText(t, "reset-identity", out, "node ID before:    "+before, "node ID now:       "+clone.Files.NodeID())
	if clone.Files.NodeID() == before || original.Files.NodeID() != before {
		t.Errorf("the node IDs are %s and %s, before %s", original.Files.NodeID(), clone.Files.NodeID(), before)
	}
	m.AwaitUp()
	pinging := third.Packets.KeepPinging(original.API.MeshAddress())
	for _, from := range m.Machines {
		for _, to := range m.Machines {
			if from != to {
				from.Packets.Ping(to.API.MeshAddress())
				from.Packets.Ping(to.Address)
			}
		}
	}
	clone.API.AwaitNoConditions()
	if pings := pinging.Stop(); pings.Lost() > 0 {
		t.Errorf("%d of %d packets were lost", pings.Lost(), pings.Sent)
	}
	// The original knows when it has not heard of the copy for a while.
	original.API.AwaitNoConditions()
	m.AwaitNoDiff()

	t.Run("without an agent", func(t *testing.T) {
		clone.Agent.Terminate()
		before := clone.Files.NodeID()
		clone.CLI.Run("reset-identity", "--yes")
		if clone.Files.NodeID() == before {
			t.Error("the node ID is the same")
		}
		third.Packets.Ping(clone.Net.MeshAddress())
		clone.Agent.Start()
		clone.API.AwaitPeersUp(2)
	})
}
