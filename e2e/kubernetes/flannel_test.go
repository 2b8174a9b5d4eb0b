package kubernetes_test

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spanmesh/span/e2e/internal/harness"
)

// TestFlannel has flannel's VXLAN between the mesh's addresses, as k3s has it, with a control
// plane at a public address and a machine behind a NAT.
func TestFlannel(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "flannel's VXLAN runs between the mesh's addresses")
	flannel := harness.Tool(t, "flannel", "kubernetes")
	for _, c := range []struct {
		name, families string
		pods           func(n int) []string
	}{
		{"IPv6", `"EnableIPv4": false, "Network": "0.0.0.0/0", "EnableIPv6": true, "IPv6Network": "fd42::/56"`, func(n int) []string { return []string{fmt.Sprintf("fd42:0:0:%d::/64", n)} }},
		{"IPv4", `"Network": "10.42.0.0/16"`, func(n int) []string { return []string{fmt.Sprintf("10.42.%d.0/24", n)} }},
		{"both families", `"Network": "10.42.0.0/16", "EnableIPv6": true, "IPv6Network": "fd42::/56"`, func(n int) []string {
			return []string{fmt.Sprintf("10.42.%d.0/24", n), fmt.Sprintf("fd42:0:0:%d::/64", n)}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newHybridMesh(t)
			control := m.Machines[0]
			k := startCluster(t, control)
			m.Start()
			m.AwaitUp()
			// flannel subtracts 50 bytes from the link's MTU, but VXLAN over IPv6 needs 70.
			network := control.Files.Write("net-conf.json", `{"EnableNFTables": true, "Backend": {"Type": "vxlan", "MTU": 1400}, `+c.families+`}`)
			var pods []*harness.Machine
			for i, machine := range m.Machines {
				k.addNode(machine.Name, c.pods(i)...)
				// A kubelet annotates its Node.
				k.kubectl("", "annotate", "node", machine.Name, "volumes.kubernetes.io/controller-managed-attach-detach=true")
				subnet := filepath.Join(machine.Dir, "subnet.env")
				cmd := machine.Command(context.WithoutCancel(t.Context()), flannel, "--kube-subnet-mgr", "--kubeconfig-file", k.admin,
					"--iface", "kubespan", "--net-config-path", network, "--subnet-file", subnet, "--ip-masq")
				cmd.Env = append(cmd.Environ(), "NODE_NAME="+machine.Name)
				p := harness.StartProcess(t, cmd)
				p.AwaitOutput("Running backend")
				pods = append(pods, machine.AddPodWithMTU("pod-of-"+machine.Name, harness.EnvNumber(t, subnet, "FLANNEL_MTU"), c.pods(i)...))
			}
			for i, from := range pods {
				for _, network := range c.pods(1 - i) {
					address := netip.MustParsePrefix(network).Addr().Next().Next()
					from.Packets.Ping(address)
					from.Exec.Nodecmd("ping-unbroken", address.String(), "1350")
					from.Packets.Transfer(pods[1-i], address, 1<<20)
					// An API server calls a webhook so.
					m.Machines[i].Packets.Transfer(pods[1-i], address, 1<<20)
				}
			}
			// The addresses of flannel's own links are not published.
			if specs := m.Machines[1].CLI.Run("get", "kubespanpeerspecs"); strings.Contains(specs, "10.42.0.0") {
				t.Errorf("flannel's address is published as the machine's:\n%s", specs)
			}
			m.AwaitNoDiff()
		})
	}
}
