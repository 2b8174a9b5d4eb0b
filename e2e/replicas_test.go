package e2e_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/e2e/lab"
)

// TestKilledServerLosesNothingAcknowledged kills a server in the middle of a
// thousand updates.
func TestKilledServerLosesNothingAcknowledged(t *testing.T) {
	requiresCurl(t)
	m := newMesh(t, 0)
	args := []string{"--store", "bolt:" + filepath.Join(m.discovery.Dir, "d.db"), "--max-affiliates", "2000", "--rate-per-address", "0", "--rate-per-cluster", "0"}
	m.serve(args...)
	flood := m.discovery.startRole("flood", net.JoinHostPort(m.discovery.Address.String(), port), "1000")
	m.discovery.await(flood, "affiliate-400\n")
	if err := m.server.Stop(unix.SIGKILL); err == nil {
		t.Fatal("the server ended by itself")
	}
	if err := flood.Wait(withPatience(t)); err == nil {
		t.Fatal("all updates were acknowledged before the server was killed")
	}
	m.serve(args...)
	o := m.discovery.finish(m.discovery.Command(withPatience(t), "curl", "--silent", "--fail-with-body", "--header", "Content-Type: application/json",
		"--data", `{"clusterId":"flood"}`, m.endpoint()+"/sidero.discovery.server.Cluster/List"))
	var list struct{ Affiliates []struct{ ID, Data string } }
	if err := json.Unmarshal([]byte(o.stdout), &list); err != nil {
		t.Fatalf("%v: %s%s", err, o.stdout, o.stderr)
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

// etcd starts an etcd on a machine and waits until it answers.
func (m *machine) etcd() (url string) {
	m.t.Helper()
	path := os.Getenv("SPANCTL_ETCD")
	if path == "" {
		path = "../.tools/bin/etcd"
	}
	path, err := filepath.Abs(path)
	if err != nil {
		m.t.Fatal(err)
	}
	url = "http://" + net.JoinHostPort(m.Address.String(), "2379")
	process, err := lab.Start(m.Command(context.WithoutCancel(m.t.Context()), path, "--data-dir", filepath.Join(m.Dir, "etcd"),
		"--listen-client-urls", url, "--advertise-client-urls", url, "--log-level", "info"))
	if err != nil {
		m.t.Fatalf("build etcd first, with `make etcd`: %v", err)
	}
	m.await(process, "ready to serve client requests")
	return url
}

// TestTwoServersOnEtcd kills one of two servers that share an etcd.
func TestTwoServersOnEtcd(t *testing.T) {
	requiresCurl(t)
	m := newMesh(t, 2)
	url := m.add(t, "etcd").etcd()
	second := m.add(t, "discovery-2")
	m.serve("--store", "etcd:"+url)
	other := second.start("discovery", "serve", "--listen", ":"+port, "--insecure", "--store", "etcd:"+url)
	second.await(other, "serving discovery")

	both := fmt.Sprintf("registries: service: endpoints: [%q, %q]", m.endpoint(), "http://"+net.JoinHostPort(second.Address.String(), port))
	config := strings.Replace(m.config, fmt.Sprintf("registries: service: endpoint: %q", m.endpoint()), both, 1)
	onlySecond := strings.Replace(m.config, m.endpoint(), "http://"+net.JoinHostPort(second.Address.String(), port), 1)

	// What one server is told reaches the watchers of the other.
	m.machines[1].write(onlySecond)
	for _, machine := range m.machines {
		machine.startAgent()
	}
	m.awaitUp()

	m.machines[0].after(func() { m.machines[0].write(config) }, "the config file changed")
	m.machines[0].awaitUp(1)
	if err := m.server.Stop(unix.SIGKILL); err == nil {
		t.Fatal("the server ended by itself")
	}
	killed := time.Now()
	late := m.add(t, "late")
	late.write(config)
	late.startAgent()
	m.machines[0].awaitMember("late")
	if took := time.Since(killed); took > 5*time.Second {
		t.Errorf("it took %v until the watcher carried on", took)
	}
	m.machines = append(m.machines, late)
	m.awaitUp()

	t.Run("the servers tell that they are ready", func(t *testing.T) {
		o := second.finish(second.Command(withPatience(t), "curl", "--silent", "--fail-with-body", "http://"+net.JoinHostPort(second.Address.String(), port)+"/readyz"))
		if o.status != 0 || o.stdout != "ok\n" {
			t.Errorf("%+v", o)
		}
	})
}

func TestDiscoveryCommands(t *testing.T) {
	requiresCurl(t)
	m := startMesh(t, 2)
	m.awaitUp()
	node := m.machines[0]
	if out := node.run("discovery", "list", "-f", node.Config()); strings.Count(out, " worker ") != 2 || !strings.Contains(out, "node-2") {
		t.Errorf("the list is:\n%s", out)
	}
	watch := node.start("discovery", "watch", "-f", node.Config())
	node.await(watch, "node-2")

	// Somebody who knows the cluster's ID, but not its secret.
	o := m.discovery.finish(m.discovery.Command(withPatience(t), "curl", "--silent", "--fail-with-body", "--header", "Content-Type: application/json",
		"--data", fmt.Sprintf(`{"clusterId":%q,"affiliateId":"stranger","affiliateData":"AAEC","ttl":"600s"}`, m.value("id")),
		m.endpoint()+"/sidero.discovery.server.Cluster/AffiliateUpdate"))
	if o.status != 0 {
		t.Fatalf("%+v", o)
	}
	node.await(watch, "+   stranger")
	node.follow("affiliates", func(specs map[string]map[string]any) bool {
		reason, _ := specs["stranger"]["refused"].(string)
		return strings.Contains(reason, "cannot be decrypted")
	})
	if out := node.run("get", "affiliates", "stranger", "-o", "yaml"); !strings.Contains(out, "refused: cannot be decrypted with the cluster secret") {
		t.Errorf("the affiliate is shown as:\n%s", out)
	}
	node.awaitUp(1) // the others are not stopped by it
	if out := node.try("discovery", "rm", "stranger", "-f", node.Config()); out.status != 0 {
		t.Errorf("%+v", out)
	}
	node.await(watch, "-   stranger")
	if err := watch.Stop(unix.SIGINT); err != nil {
		t.Errorf("%v: %s", err, watch.Output())
	}
}

// TestMembersAlone has a server that wants tokens.
func TestMembersAlone(t *testing.T) {
	requiresCurl(t)
	m := newMesh(t, 2)
	m.serve("--auth", "member")
	for _, machine := range m.machines {
		machine.startAgent()
	}
	m.awaitUp()
	o := m.discovery.finish(m.discovery.Command(withPatience(t), "curl", "--silent", "--fail-with-body", "--header", "Content-Type: application/json",
		"--data", fmt.Sprintf(`{"clusterId":%q}`, m.value("id")), m.endpoint()+"/sidero.discovery.server.Cluster/List"))
	if o.status == 0 || !strings.Contains(o.stdout, "the member token of the cluster is missing") {
		t.Errorf("%+v", o)
	}
	if said := m.server.Output(); strings.Contains(said, m.value("id")) {
		t.Errorf("the log has the cluster's ID:\n%s", said)
	}
}

// TestSocketActivation passes a socket as systemd does, and hears the notification.
func TestSocketActivation(t *testing.T) {
	requiresCurl(t)
	m := newMesh(t, 0)
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
	// Here, not in a node: the socket is of this namespace. systemd sets LISTEN_PID
	// to the process that it becomes, as exec does in a shell.
	cmd := m.discovery.Outside(context.WithoutCancel(t.Context()), "sh", "-c", `LISTEN_PID=$$ exec "$0" discovery serve --store memory`, spanctl(t))
	cmd.ExtraFiles = []*os.File{socket}
	cmd.Env = append(cmd.Env, "LISTEN_FDS=1", "NOTIFY_SOCKET="+notifications)
	server, err := lab.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	await := func(want string) {
		t.Helper()
		if err := systemd.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		buffer := make([]byte, 100)
		n, err := systemd.Read(buffer)
		if err != nil || string(buffer[:n]) != want {
			t.Fatalf("systemd heard %q, %v; the server said:\n%s", buffer[:n], err, server.Output())
		}
	}
	await("READY=1")
	m.discovery.await(server, listener.Addr().String())
	if err := server.Stop(unix.SIGTERM); err != nil {
		t.Error(err)
	}
	await("STOPPING=1")
}
