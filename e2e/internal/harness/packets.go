package harness

import (
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spanmesh/span/e2e/internal/nodecmd"
	"github.com/spanmesh/span/e2e/lab"
)

// Packets sends traffic from a machine.
type Packets struct{ m *Machine }

// Ping sends echo requests to an address until one is answered.
func (p Packets) Ping(to netip.Addr) {
	p.m.t.Helper()
	if _, err := p.m.Ping(Context(p.m.t), to); err != nil {
		p.m.t.Fatal(err)
	}
}

// blockedFor is how long requests are sent that nothing should answer.
const blockedFor = 2 * time.Second

// Blocked reports whether all requests to an address stay unanswered for two seconds.
func (p Packets) Blocked(to netip.Addr) bool {
	p.m.t.Helper()
	pings, err := p.m.PingFor(Context(p.m.t), to, blockedFor)
	if err != nil {
		p.m.t.Fatal(err)
	}
	return pings.Received == 0
}

// PingMany sends n echo requests, from the first that is answered on, and expects an
// answer to each.
func (p Packets) PingMany(to netip.Addr, n int) {
	p.m.t.Helper()
	pings, err := p.m.PingMany(Context(p.m.t), to, n)
	if err != nil {
		p.m.t.Fatal(err)
	}
	WantAnswers(p.m.t, pings)
}

// WantAnswers expects an answer to each of some pings. Of those in the guest one in a hundred may be
// missing: its only processor is emulated, and at times stands still for longer than answers are awaited.
func WantAnswers(t *testing.T, pings lab.Pings) {
	t.Helper()
	allowed := 0
	if InGuest() {
		allowed = 1 + pings.Sent/100
	}
	if pings.Lost() > allowed {
		t.Errorf("%d of %d pings were lost", pings.Lost(), pings.Sent)
	}
}

// Pinging is a stream of echo requests.
type Pinging struct {
	pinging *lab.Pinging
	t       *testing.T
}

// KeepPinging starts a stream of echo requests and returns when the first was answered.
func (p Packets) KeepPinging(to netip.Addr) *Pinging {
	p.m.t.Helper()
	pinging, err := p.m.KeepPinging(Context(p.m.t), to)
	if err != nil {
		p.m.t.Fatal(err)
	}
	return &Pinging{pinging, p.m.t}
}

// Stop ends the stream and returns how many requests were answered.
func (p *Pinging) Stop() lab.Pings {
	p.t.Helper()
	pings, err := p.pinging.Stop()
	if err != nil {
		p.t.Fatal(err)
	}
	return pings
}

// Transfer sends bytes over TCP to an address of another machine, which checks that all
// arrive.
func (p Packets) Transfer(to *Machine, address netip.Addr, bytes int) {
	p.m.t.Helper()
	server := to.Exec.StartNodecmd("tcp-sink")
	p.m.Exec.Nodecmd("tcp-send", address.String(), strconv.Itoa(bytes))
	server.Terminate()
}

// Clear returns how many packets with the canary were on the machine's link to the lab's
// network while do worked, and a line for each kind of them.
func (p Packets) Clear(do func()) (count int, kinds string) {
	p.m.t.Helper()
	capture := p.m.Exec.StartNodecmd("capture-clear")
	do()
	capture.Terminate()
	_, said, _ := strings.Cut(capture.Output(), nodecmd.Ready)
	first, kinds, _ := strings.Cut(said, "\n")
	count, err := strconv.Atoi(first)
	if err != nil {
		p.m.t.Fatalf("the capture said %q: %v", said, err)
	}
	return count, kinds
}

const (
	// canaryInterval is the time between two canaries to an address.
	canaryInterval = 10 * time.Millisecond
	// canaryIntervalInGuest leaves its one emulated processor time for other tests.
	canaryIntervalInGuest = 100 * time.Millisecond
)

// SendCanaries sends packets with the canary to addresses until the process is terminated. It
// answers those of others too.
func (p Packets) SendCanaries(to ...netip.Addr) *Process {
	p.m.t.Helper()
	interval := canaryInterval
	if InGuest() {
		interval = canaryIntervalInGuest
	}
	args := []string{interval.String()}
	for _, address := range to {
		args = append(args, address.String())
	}
	return p.m.Exec.StartNodecmd("canary", args...)
}
