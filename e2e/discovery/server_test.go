package discovery_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spanmesh/span/e2e/internal/harness"
)

// TestKilledServerLosesNothingAcknowledged kills a server during a thousand updates.
func TestKilledServerLosesNothingAcknowledged(t *testing.T) {
	t.Parallel()
	m := harness.NewMesh(t, 0)
	args := []string{"--store", "bolt:" + filepath.Join(m.Discovery.Dir, "d.db"), "--max-affiliates", "2000", "--rate-per-address", "0", "--rate-per-cluster", "0"}
	m.Serve(args...)
	flood := m.Discovery.Exec.StartNodecmd("flood", net.JoinHostPort(m.Discovery.Address.String(), harness.DiscoveryPort), "1000")
	flood.AwaitOutput("affiliate-400\n")
	m.Server.Kill()
	if err := flood.Wait(harness.Context(t)); err == nil {
		t.Fatal("all updates were acknowledged before the server was killed")
	}
	m.Serve(args...)
	answer := m.Call("List", `{"clusterId":"flood"}`)
	var list struct{ Affiliates []struct{ ID, Data string } }
	if err := json.Unmarshal([]byte(answer.Body), &list); err != nil {
		t.Fatalf("%v: %+v", err, answer)
	}
	kept := map[string]string{}
	for _, a := range list.Affiliates {
		kept[a.ID] = a.Data
	}
	acknowledged := 0
	for line := range strings.Lines(flood.Output()) {
		id := strings.TrimSpace(line)
		if !strings.HasPrefix(id, "affiliate-") {
			continue
		}
		acknowledged++
		if want := base64.StdEncoding.EncodeToString([]byte("sealed " + id)); kept[id] != want {
			t.Errorf("%s was acknowledged, and is %q", id, kept[id])
		}
	}
	t.Logf("%d updates were acknowledged before the server was killed; it has %d affiliates", acknowledged, len(kept))
}

func TestDiscoveryCommands(t *testing.T) {
	t.Parallel()
	m := harness.StartMesh(t, 2)
	m.AwaitUp()
	node := m.Machines[0]
	out := node.CLI.Run("discovery", "list", "-f", node.Config())
	if n := strings.Count(out, " worker "); n != 2 {
		t.Errorf("%d workers are listed, want 2:\n%s", n, out)
	}
	if !strings.Contains(out, "node-2") {
		t.Errorf("the list has no node-2:\n%s", out)
	}
	watch := node.CLI.Start("discovery", "watch", "-f", node.Config())
	watch.AwaitOutput("node-2")

	// An affiliate of somebody who knows the cluster's ID, but not its secret.
	m.Call("AffiliateUpdate", fmt.Sprintf(`{"clusterId":%q,"affiliateId":"stranger","affiliateData":"AAEC","ttl":"600s"}`, m.Value("id"))).WantBody(t, http.StatusOK, "")
	watch.AwaitOutput("+   stranger")
	node.API.Await("affiliates", func(specs harness.Specs) bool {
		reason, _ := specs["stranger"]["refused"].(string)
		return strings.Contains(reason, "cannot be decrypted")
	})
	if out := node.CLI.Run("get", "affiliates", "stranger", "-o", "yaml"); !strings.Contains(out, "refused: cannot be decrypted with the cluster secret") {
		t.Errorf("the affiliate is shown as:\n%s", out)
	}
	node.API.AwaitPeersUp(1) // the others are not stopped by it
	node.CLI.Try("discovery", "rm", "stranger", "-f", node.Config()).WantStatus(t, 0)
	watch.AwaitOutput("-   stranger")
	watch.Interrupt()
}

// TestRemovingAffiliates removes machines that are not there, that are alive, and that are gone.
func TestRemovingAffiliates(t *testing.T) {
	t.Parallel()
	m := harness.StartMesh(t, 3)
	m.AwaitUp()
	node, alive, gone := m.Machines[0], m.Machines[1], m.Machines[2]
	remove := func(args ...string) harness.Outcome {
		return node.CLI.Try(append([]string{"discovery", "rm", "-f", node.Config()}, args...)...)
	}
	remove("nosuch").WantStatus(t, 1).WantStderr(t, "no affiliate has the ID or the name \"nosuch\"")
	remove("nosuch", "--force").WantStatus(t, 1)
	remove(alive.Name).WantStatus(t, 1).WantStderr(t, "is alive")
	remove(alive.Files.NodeID()).WantStatus(t, 1).WantStderr(t, "is alive")
	remove(alive.Name, "--force").WantStatus(t, 0)
	gone.Agent.Kill()
	remove(gone.Name).WantStatus(t, 0)
	remove(gone.Name).WantStatus(t, 1)
	node.CLI.AwaitDiscovered(alive)
}

// TestServerThatRequiresTokens answers members only.
func TestServerThatRequiresTokens(t *testing.T) {
	t.Parallel()
	m := harness.NewMesh(t, 2)
	m.Serve("--auth", "member")
	for _, machine := range m.Machines {
		machine.Agent.Start()
	}
	m.AwaitUp()
	m.Call("List", fmt.Sprintf(`{"clusterId":%q}`, m.Value("id"))).WantBody(t, http.StatusUnauthorized, "the member token of the cluster is missing")
	if out := m.Server.Output(); strings.Contains(out, m.Value("id")) {
		t.Errorf("the log has the cluster's ID:\n%s", out)
	}
}

// TestSocketActivation passes a socket as systemd does, and waits for the notifications.
func TestSocketActivation(t *testing.T) {
	t.Parallel()
	m := harness.NewMesh(t, 0)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	socket, err := listener.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = socket.Close() }()
	notifications := filepath.Join(m.Dir, "notify")
	systemd, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: notifications, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = systemd.Close() }()
	// The socket belongs to this namespace, so the server runs here and not in a node.
	// exec in a shell keeps the PID, so LISTEN_PID is that of the server, as with systemd.
	cmd := m.Discovery.Outside(context.WithoutCancel(t.Context()), "sh", "-c", `LISTEN_PID=$$ exec "$0" discovery serve --store memory`, harness.Binary(t))
	cmd.ExtraFiles = []*os.File{socket}
	cmd.Env = append(cmd.Env, "LISTEN_FDS=1", "NOTIFY_SOCKET="+notifications)
	server := harness.StartProcess(t, cmd)
	await := func(want string) {
		t.Helper()
		if err := systemd.SetReadDeadline(time.Now().Add(harness.Patience)); err != nil {
			t.Fatal(err)
		}
		buffer := make([]byte, 100)
		n, err := systemd.Read(buffer)
		if err != nil {
			t.Fatalf("no notification: %v; the server printed:\n%s", err, server.Output())
		}
		if got := string(buffer[:n]); got != want {
			t.Fatalf("the notification is %q, want %q; the server printed:\n%s", got, want, server.Output())
		}
	}
	await("READY=1")
	server.AwaitOutput(listener.Addr().String())
	server.Terminate()
	await("STOPPING=1")
}
