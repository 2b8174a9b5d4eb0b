package e2e_test

import (
	"strings"
	"testing"
	"time"
)

func TestThreeMachinesMesh(t *testing.T) {
	scenario(t, "three machines mesh")
	m := startMesh(t, 3)
	m.awaitUp()
	for _, from := range m.machines {
		for _, to := range m.machines {
			if from != to {
				from.ping(to.meshAddress())
				// The address on the shared network is routed into the mesh too.
				from.ping(to.Address)
			}
		}
		from.awaitClean()
	}
}

// TestTenMachinesMesh also measures, for a promise made to users: every peer is
// up within ten seconds of the start.
func TestTenMachinesMesh(t *testing.T) {
	scenario(t, "ten machines mesh within ten seconds")
	m := newMesh(t, 10)
	m.serve()
	began := time.Now()
	for _, machine := range m.machines {
		machine.startAgent()
	}
	m.awaitUp()
	took := time.Since(began)
	t.Logf("ten machines saw each other up %.1f s after the first start", took.Seconds())
	if took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
	table := m.machines[0].run("get", "kubespanpeerstatuses")
	if n := strings.Count(table, "   up   "); n != 9 {
		t.Errorf("%d peers are shown as up, want 9:\n%s", n, table)
	}
}
