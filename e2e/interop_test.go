package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/e2e/interop"
)

// talosPeer is a role: args[0] is an interop.Peer in JSON.
func talosPeer(args []string) error {
	var p interop.Peer
	if err := json.Unmarshal([]byte(args[0]), &p); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM)
	defer stop()
	fmt.Print(roleReady)
	return p.Run(ctx, os.Stdout)
}

// talosService is a role: args[0] is the address to listen on.
func talosService(args []string) error {
	listener, err := net.Listen("tcp", args[0])
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM)
	defer stop()
	fmt.Print(roleReady)
	return interop.Serve(ctx, listener)
}

// flood is a role: args are the service's host:port and how many affiliates to
// publish. It says when it has begun, and each that was acknowledged.
func flood(args []string) error {
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	fmt.Print(roleReady)
	return interop.Flood(context.Background(), args[0], "flood", n, 16, os.Stdout)
}

// value is a setting of the mesh's config.
func (m *mesh) value(name string) string {
	_, rest, _ := strings.Cut(m.config, "\t"+name+": \"")
	v, _, _ := strings.Cut(rest, `"`)
	return v
}

// TestTalosNodeJoinsThroughOurService has a machine that speaks the protocol as
// Talos does, with no code of ours.
func TestTalosNodeJoinsThroughOurService(t *testing.T) {
	scenario(t, "a Talos node joins")
	m := startMesh(t, 2)
	m.awaitUp()
	talos := m.add(t, "talos")
	subnet := m.machines[0].meshAddress().As16()
	subnet[15]++
	description, err := json.Marshal(interop.Peer{
		Target: net.JoinHostPort(m.discovery.Address.String(), port), Cluster: m.value("id"), Secret: m.value("secret"),
		NodeID: "2VfX3nu67ZtZPl57IdJrU87BMjVWkSBJiL9ulP9TCnF", Name: "talos-default-worker-1",
		PublicKey: "06D9QQOydzKrOL7oeLiqHy9OWE8KtmJzZII2A5/FLFI=", Address: talos.Address,
		MeshAddress: netip.AddrFrom16(subnet), Endpoint: netip.AddrPortFrom(talos.Address, 51820),
	})
	if err != nil {
		t.Fatal(err)
	}
	peer := talos.startRole("talos-peer", string(description))
	talos.await(peer, "seen at "+talos.Address.String())
	for _, machine := range m.machines {
		// It sees ours, with all that a tunnel needs.
		fields := strings.Fields(machine.run("get", "kubespanidentities"))
		key, address := fields[7], netip.MustParsePrefix(fields[6]).Addr()
		talos.await(peer, fmt.Sprintf(" %s %s %s %s:51820\n", machine.Name, key, address, machine.Address))
		// And ours see it.
		machine.follow("members", func(specs map[string]map[string]any) bool {
			member := specs["talos-default-worker-1"]
			return member != nil && member["machineType"] == "controlplane" && member["operatingSystem"] == "Talos (v1.11.0)"
		})
		machine.follow("kubespanpeerspecs", func(specs map[string]map[string]any) bool {
			spec := specs["06D9QQOydzKrOL7oeLiqHy9OWE8KtmJzZII2A5/FLFI="]
			endpoints, _ := spec["endpoints"].([]any)
			return len(endpoints) == 1 && endpoints[0] == talos.Address.String()+":51820"
		})
	}
	m.machines[1].run("down")
	talos.await(peer, "- ")
	if err := peer.Stop(unix.SIGTERM); err != nil {
		t.Errorf("%v: %s", err, peer.Output())
	}
	m.machines[0].follow("members", func(specs map[string]map[string]any) bool { return len(specs) == 1 })
}

// TestOurMachinesMeshThroughATalosService has a service of plain grpc-go.
func TestOurMachinesMeshThroughATalosService(t *testing.T) {
	m := newMesh(t, 3)
	service := m.discovery.startRole("talos-service", ":"+port)
	for _, machine := range m.machines {
		machine.startAgent()
	}
	m.awaitUp()
	m.machines[0].ping(m.machines[2].meshAddress())
	m.machines[2].run("down")
	m.machines[0].awaitUp(1)
	m.machines[1].awaitUp(1)
	if err := service.Stop(unix.SIGTERM); err != nil {
		t.Error(err)
	}
}
