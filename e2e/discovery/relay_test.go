package discovery_test

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/vishvananda/netns"

	"github.com/spanmesh/span/e2e/internal/harness"
	"github.com/spanmesh/span/e2e/interop"
	"github.com/spanmesh/span/e2e/lab"
)

// relayed are two machines behind NATs that no packet passes unasked, with plain WireGuard, whose only
// way to each other is the relay of the server.
type relayed struct {
	*harness.Mesh
	machines [2]*harness.Machine
	members  [2]interop.RelayMember
}

func newRelayed(t *testing.T, streams [2]bool) *relayed {
	t.Helper()
	r := &relayed{Mesh: harness.NewMesh(t, 0)}
	for i := range r.machines {
		r.machines[i] = r.AddBehindNAT(lab.Symmetric, []string{"one", "two"}[i])
		r.members[i] = interop.RelayMember{Target: net.JoinHostPort(r.Discovery.Address.String(), harness.DiscoveryPort), Cluster: "relayed",
			Number: byte(i + 1), Peers: []byte{byte(2 - i)}, Stream: streams[i]}
	}
	return r
}

// serve runs a server with a relay, whose files are kept.
func (r *relayed) serve(args ...string) {
	r.Serve(append([]string{"--relay", ":51821", "--state-dir", r.Discovery.Dir}, args...)...)
}

// join makes a machine use the relay.
func (r *relayed) join(t *testing.T, i int) {
	t.Helper()
	text, err := json.Marshal(r.members[i])
	if err != nil {
		t.Fatal(err)
	}
	r.machines[i].Exec.StartNodecmd("relay-member", string(text))
}

// refuse has a machine try to use the relay, in vain.
func (r *relayed) refuse(t *testing.T, i int) harness.Outcome {
	t.Helper()
	text, err := json.Marshal(r.members[i])
	if err != nil {
		t.Fatal(err)
	}
	cmd, err := r.machines[i].Subcommand(harness.Context(t), "relay-member", string(text))
	if err != nil {
		t.Fatal(err)
	}
	return r.machines[i].Exec.Finish(cmd)
}

// TestRelay connects machines over UDP and TCP, also when the server is started again.
func TestRelay(t *testing.T) {
	harness.Scenario(t, "machines of another implementation register with a relay over UDP and TCP, and reach each other by it, also after it was started again")
	for name, streams := range map[string][2]bool{"UDP": {}, "TCP": {true, true}, "one of each": {true, false}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRelayed(t, streams)
			r.serve()
			for i := range r.machines {
				r.join(t, i)
			}
			ping := func() {
				t.Helper()
				r.machines[0].Packets.Ping(r.members[1].Address())
				r.machines[1].Packets.Ping(r.members[0].Address())
			}
			ping()
			metrics := r.Discovery.Exec.Get(r.Endpoint() + "/metrics")
			metrics.WantBody(t, http.StatusOK, `spanctl_relay_machines{state="registered"} 2`)
			if out := r.Server.Output(); strings.Contains(out, "relayed") {
				t.Errorf("the log has the cluster's ID:\n%s", out)
			}
			if streams[0] || streams[1] {
				return
			}
			r.Server.Terminate()
			r.serve()
			r.Server.AwaitOutput("relay's table restored")
			ping()
		})
	}
}

// TestRelayOfSystemd starts the server again while another holds its sockets, as systemd does, and
// machines send to each other: nothing is lost.
func TestRelayOfSystemd(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "a relay whose sockets systemd holds starts again: no packet is lost")
	r := newRelayed(t, [2]bool{})
	sockets := r.openSockets(t)
	start := func() *harness.Process {
		t.Helper()
		cmd := r.Discovery.Command(context.WithoutCancel(t.Context()), "sh", "-c", `LISTEN_PID=$$ LISTEN_FDS=2 exec "$0" "$@"`, r.Binary,
			"discovery", "serve", "--insecure", "--store", "memory", "--relay", ":51821", "--state-dir", r.Discovery.Dir)
		cmd.ExtraFiles = sockets
		p := harness.StartProcess(t, cmd)
		p.AwaitOutput("serving discovery")
		return p
	}
	server := start()
	for i := range r.machines {
		r.join(t, i)
	}
	r.machines[1].Packets.Ping(r.members[0].Address())
	pinging := r.machines[0].Packets.KeepPinging(r.members[1].Address())
	for range 3 {
		server.Terminate()
		server = start()
	}
	if pings := pinging.Stop(); pings.Lost() > 0 {
		t.Errorf("%d of %d pings were lost", pings.Lost(), pings.Sent)
	}
}

// openSockets opens the server's TCP and UDP sockets.
func (r *relayed) openSockets(t *testing.T) (files []*os.File) {
	t.Helper()
	err := r.Discovery.Namespace(func(ns netns.NsHandle) error {
		failed := make(chan error)
		go func() {
			runtime.LockOSThread() // the thread ends with the goroutine
			if err := netns.Set(ns); err != nil {
				failed <- err
				return
			}
			listener, err := net.ListenTCP("tcp", &net.TCPAddr{Port: 3000})
			if err != nil {
				failed <- err
				return
			}
			packets, err := net.ListenUDP("udp", &net.UDPAddr{Port: 51821})
			if err != nil {
				failed <- err
				return
			}
			for _, socket := range []interface{ File() (*os.File, error) }{listener, packets} {
				file, e := socket.File()
				files, err = append(files, file), errors.Join(err, e)
			}
			failed <- errors.Join(err, listener.Close(), packets.Close())
		}()
		return <-failed
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, f := range files {
			_ = f.Close()
		}
	})
	return files
}

// TestRelayRefusesAForgedProof has a machine join with the key of another.
func TestRelayRefusesAForgedProof(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "a relay lets nobody in who does not show that the private key is its own")
	r := newRelayed(t, [2]bool{})
	r.serve()
	r.members[0].Forged = true
	r.refuse(t, 0).WantStatus(t, 1).WantStderr(t, "the proof was not made with the private key")
}
