package nat

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/spanmesh/span/e2e/internal/harness"
	"github.com/spanmesh/span/e2e/lab"
)

// TestChange has what is between machines change while they are in touch. After each change all pairs
// meet as their kinds allow.
func TestChange(t *testing.T) {
	t.Parallel()
	harness.Scenario(t, "machines behind NATs meet again: a NAT reboots, addresses change, UDP is blocked and unblocked, a relay dies and comes back")
	harness.SkipInGuest(t, "it is about time and WireGuard's other packets, and waits for minutes")
	m := newMesh(t, 2)
	home, office := m.add("home", lab.PortRestricted), m.add("office", lab.PortRestricted)
	hotel, cloud := m.add("hotel", lab.PerDestination), m.add("cloud", lab.NoNAT)
	m.start()
	m.meet(t, "at first", func() error { return nil })
	m.meet(t, "a NAT reboots and uses another port", func() error { return home.access.Reboot(lab.MappedPort + 1) })
	m.meet(t, "a symmetric NAT reboots", func() error { return hotel.access.Reboot(0) })
	m.meet(t, "a machine's address changes", cloud.access.Renumber)
	m.meet(t, "a NAT's address changes", office.access.Renumber)

	blocked := home.access.Routers[0]
	home.kind = lab.UDPBlocked
	m.meet(t, "UDP is blocked", blocked.BlockUDP)
	home.kind = lab.PortRestricted
	m.meet(t, "UDP is unblocked", blocked.UnblockUDP)

	first := m.relayOf(home, hotel)
	m.meet(t, "the relay dies", func() error {
		first.process.Kill()
		return nil
	})
	if second := m.relayOf(home, hotel); second == first {
		t.Errorf("%s and %s are still behind the relay of %s", home.Name, hotel.Name, first.Name)
	}
	m.meet(t, "the relay comes back", func() error {
		first.start()
		return nil
	})
	for _, p := range m.places {
		p.API.Await("affiliates", func(specs harness.Specs) bool { return registeredWith(specs, p.Name, len(m.servers)) })
		p.CLI.AwaitNoDiff()
	}
}

// registeredWith reports whether all machines but one, which is self, are registered with a number of relays.
func registeredWith(affiliates harness.Specs, self string, relays int) bool {
	for _, spec := range affiliates {
		if spec["hostname"] == self {
			continue
		}
		kubespan, _ := spec["kubespan"].(map[string]any)
		if registered, _ := kubespan["registered"].([]any); len(registered) != relays {
			return false
		}
	}
	return len(affiliates) > 1
}

// relayOf returns the server whose relay is between two machines.
func (m *mesh) relayOf(one, other *place) *server {
	m.t.Helper()
	m.board.mu.Lock()
	defer m.board.mu.Unlock()
	name := fmt.Sprint(m.board.ends[end{one.Name, other.Name}].spec["blindRelay"])
	for _, s := range m.servers {
		if strings.HasPrefix(name, s.Address.String()) {
			return s
		}
	}
	m.t.Fatalf("%s reaches %s by the relay %q, which no server has", one.Name, other.Name, name)
	return nil
}

// meet changes something, and has all pairs exchange a text, meet as their kinds allow, and exchange it
// again.
func (m *mesh) meet(t *testing.T, event string, change func() error) {
	t.Helper()
	if err := change(); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	m.exchange()
	exchanged := time.Since(start)
	m.await(t)
	met := time.Since(start)
	m.exchange()
	t.Logf("%s: all hear each other after %.1f s, and meet as their kinds allow after %.1f s", event, exchanged.Seconds(), met.Seconds())
	if t.Failed() {
		t.FailNow()
	}
}
