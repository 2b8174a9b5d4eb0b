package path

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/spanmesh/span/reconciler/mesh"
)

var (
	relayUDP  = netip.MustParseAddrPort("203.0.113.1:51821")
	relayAway = netip.MustParseAddrPort("[2001:db8::1]:51821")
	relayTCP  = netip.MustParseAddrPort("127.0.0.1:40000")
	begin     = time.Unix(1_800_000_000, 0)
)

// fakeRelay answers checks as relays do.
type fakeRelay struct {
	dead       bool
	registered bool
	table      byte
	// answered are the checks that were, and sent those that were not as well.
	answered, sent int
}

func (f *fakeRelay) answer(check []byte) []byte {
	b := slices.Clone(check)
	b[kindOffset] = byte(checkAnswerKind)
	if f.registered {
		b[registeredOffset] = 1
	}
	b[tableOffset] = f.table
	return b
}

// checking is a prober with the relays that answer it.
type checking struct {
	RelayProber
	t      *testing.T
	now    time.Time
	relays []Relay
	at     map[netip.AddrPort]*fakeRelay
}

// run lets time pass, and steps whenever a step is due.
func (c *checking) run(d time.Duration) {
	c.t.Helper()
	for until := c.now.Add(d); ; {
		send, next := c.Step(c.now, c.relays)
		for _, s := range send {
			f := c.at[s.To]
			if f == nil {
				c.t.Fatalf("a check to %v", s.To)
			}
			if f.sent++; !f.dead {
				f.answered++
				c.Heard(c.now, s.To, f.answer(s.Payload))
			}
		}
		if len(send) > 0 {
			continue
		}
		if next.IsZero() || next.After(until) {
			c.now = until
			return
		}
		if !next.After(c.now) {
			c.t.Fatalf("a step is due at %v, which is now", next)
		}
		c.now = next
	}
}

func newChecking(t *testing.T, relays ...Relay) (*checking, *fakeRelay) {
	first := &fakeRelay{registered: true, table: 1}
	return &checking{t: t, now: begin, relays: relays, at: map[netip.AddrPort]*fakeRelay{
		relayUDP: first, relayAway: {registered: true, table: 2}, relayTCP: {registered: true, table: 1},
	}}, first
}

func TestRelayIsLost(t *testing.T) {
	c, relay := newChecking(t, Relay{Key: mesh.Key{1}, At: relayUDP, Used: true})
	c.run(10 * time.Second)
	if s := c.States()[0]; s.Lost || relay.answered != 11 {
		t.Fatalf("%d checks were answered: %+v", relay.answered, s)
	}
	relay.dead = true
	c.run(2500 * time.Millisecond)
	if c.States()[0].Lost {
		t.Error("it counts as lost after 2.5 s")
	}
	c.run(500 * time.Millisecond)
	if !c.States()[0].Lost {
		t.Error("it does not count as lost after 3 s")
	}
	sent := relay.sent
	c.run(time.Minute)
	if n := relay.sent - sent; n != int(time.Minute/restEvery) {
		t.Errorf("while it is lost, %d checks were sent in a minute", n)
	}
	relay.dead = false
	c.run(restEvery)
	if s := c.States()[0]; s.Lost || !s.ForgotAt.IsZero() || s.Unregistered != 0 {
		t.Errorf("after it has answered again: %+v", s)
	}
}

func TestRelaysThatAreNotLost(t *testing.T) {
	for name, do := range map[string]func(*checking, *fakeRelay){
		"one that never answered": func(c *checking, f *fakeRelay) { f.dead = true; c.run(time.Minute) },
		"one that misses checks, and not three in a row": func(c *checking, f *fakeRelay) {
			c.run(time.Second)
			for range 20 {
				f.dead = true
				c.run(1100 * time.Millisecond)
				f.dead = false
				c.run(time.Second)
			}
		},
		"one at a new endpoint": func(c *checking, f *fakeRelay) {
			c.run(time.Second)
			f.dead = true
			c.run(2 * time.Second)
			c.relays = []Relay{{Key: mesh.Key{1}, At: relayTCP, Used: true}}
			c.run(time.Second)
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, relay := newChecking(t, Relay{Key: mesh.Key{1}, At: relayUDP, Used: true})
			if do(c, relay); c.States()[0].Lost {
				t.Error("it counts as lost")
			}
		})
	}
}

func TestRelayThatForgets(t *testing.T) {
	c, relay := newChecking(t, Relay{Key: mesh.Key{1}, At: relayUDP, Used: true})
	c.run(time.Second)
	relay.registered = false
	c.run(time.Second)
	if s := c.States()[0]; s.Unregistered != 1 || !s.ForgotAt.IsZero() {
		t.Errorf("where the machine has another address: %+v", s)
	}
	relay.table = 9
	c.run(time.Second)
	if s := c.States()[0]; s.Unregistered != 2 || !s.ForgotAt.Equal(c.now) {
		t.Errorf("where the relay has another table: %+v at %v", s, c.now)
	}
	before := c.States()[0].ForgotAt
	relay.registered = true
	c.run(time.Minute)
	if s := c.States()[0]; s.Unregistered != 2 || !s.ForgotAt.Equal(before) {
		t.Errorf("afterwards: %+v", s)
	}
}

// TestRelayThatForgetsAllTheTime has each answer name another table, as forged ones may.
func TestRelayThatForgetsAllTheTime(t *testing.T) {
	c, relay := newChecking(t, Relay{Key: mesh.Key{1}, At: relayUDP, Used: true})
	c.run(time.Second)
	var found []time.Duration
	last := time.Time{}
	for range 1200 {
		relay.table = 1 + relay.table%250
		c.run(time.Second)
		if at := c.States()[0].ForgotAt; !at.Equal(last) {
			found, last = append(found, at.Sub(begin).Round(time.Second)), at
		}
	}
	want := []time.Duration{2, 32, 92, 212, 452, 752, 1052}
	for i := range want {
		want[i] *= time.Second
	}
	if !slices.Equal(found, want) {
		t.Errorf("it has lost its table after %v, want %v", found, want)
	}
	c.run(2 * forgetRest)
	relay.table++
	c.run(time.Second)
	relay.table++
	c.run(firstForget)
	if at := c.States()[0].ForgotAt; !at.Equal(c.now) {
		t.Errorf("of two losses after a rest, the last is found at %v, want %v", at, c.now)
	}
}

// TestMissedChecksAreTold has the second in a row be told, and one alone not.
func TestMissedChecksAreTold(t *testing.T) {
	c, relay := newChecking(t, Relay{Key: mesh.Key{1}, At: relayUDP, Used: true})
	c.run(10 * time.Second)
	relay.dead = true
	c.run(time.Second)
	if s := c.States()[0]; s.Missed != 0 {
		t.Errorf("after one: %+v", s)
	}
	c.run(checkAgain)
	if s := c.States()[0]; s.Missed != 1 || s.Lost {
		t.Errorf("after two: %+v", s)
	}
	c.run(2 * checkAgain)
	if s := c.States()[0]; s.Missed != 1 || !s.Lost {
		t.Errorf("after three: %+v", s)
	}
}

func TestRelaysAtRest(t *testing.T) {
	c, relay := newChecking(t, Relay{Key: mesh.Key{1}, At: relayUDP}, Relay{Key: mesh.Key{2}, At: relayAway})
	c.run(time.Minute)
	if relay.sent > 0 {
		t.Errorf("without peers, %d checks were sent", relay.sent)
	}
	c.relays = []Relay{{Key: mesh.Key{1}, At: relayUDP, Used: true}, {Key: mesh.Key{2}, At: relayAway}}
	c.run(time.Minute)
	if n := c.at[relayAway].answered; n < 19 || n > 21 {
		t.Errorf("that at rest was checked %d times in a minute", n)
	}
	c.at[relayAway].dead = true
	c.run(restEvery + 2*time.Second)
	if s := c.States(); s[0].Lost || !s[1].Lost {
		t.Errorf("when that at rest is dead: %+v", s)
	}
}

func TestRelayIsReachedByUDPAgain(t *testing.T) {
	c, relay := newChecking(t, Relay{Key: mesh.Key{1}, At: relayTCP, Used: true, Away: []netip.AddrPort{relayUDP, relayAway}})
	relay.dead, c.at[relayAway].dead = true, true
	c.run(time.Minute)
	if s := c.States()[0]; s.Lost || s.Answers.IsValid() {
		t.Fatalf("while UDP is blocked: %+v", s)
	}
	c.at[relayAway].dead = false
	c.run(3 * time.Second)
	if s := c.States()[0]; s.Answers.IsValid() {
		t.Errorf("after 3 s of UDP: %+v", s)
	}
	c.run(3 * time.Second)
	if s := c.States()[0]; s.Answers != relayAway {
		t.Errorf("after 6 s of UDP: %+v", s)
	}
	c.relays = []Relay{{Key: mesh.Key{1}, At: relayAway, Used: true}}
	c.run(time.Second)
	if s := c.States()[0]; s.Answers.IsValid() || s.At != relayAway {
		t.Errorf("after the move: %+v", s)
	}
}

// TestForgedAnswers are those of others than the relay, and of other checks.
func TestForgedAnswers(t *testing.T) {
	c, relay := newChecking(t, Relay{Key: mesh.Key{1}, At: relayUDP, Used: true})
	c.run(time.Second)
	c.now = c.now.Add(checkEvery)
	send, _ := c.Step(c.now, c.relays)
	answer := (&fakeRelay{table: 9}).answer(send[0].Payload)
	other := slices.Clone(answer)
	other[checkIDOffset]++
	for name, heard := range map[string]bool{
		"from elsewhere":   c.Heard(c.now, relayAway, answer),
		"of another check": c.Heard(c.now, relayUDP, other),
		"cut":              c.Heard(c.now, relayUDP, answer[:31]),
		"a check":          c.Heard(c.now, relayUDP, send[0].Payload),
	} {
		if heard || c.States()[0].Unregistered > 0 {
			t.Errorf("an answer %s is taken", name)
		}
	}
	if c.Heard(c.now, relayUDP, relay.answer(send[0].Payload)); c.States()[0].Unregistered > 0 {
		t.Error("the relay's answer is not taken")
	}
	if c.Heard(c.now, relayUDP, answer) {
		t.Error("a second answer is taken")
	}
}

func FuzzCheckAnswer(f *testing.F) {
	f.Add(newCheckID().check())
	f.Add((&fakeRelay{registered: true}).answer(newCheckID().check()))
	f.Fuzz(func(t *testing.T, packet []byte) {
		c, _ := newChecking(t, Relay{Key: mesh.Key{1}, At: relayUDP, Used: true})
		c.run(time.Second)
		if c.Heard(c.now, relayUDP, packet) {
			t.Error("it is taken for the answer to a check whose ID is random")
		}
	})
}
