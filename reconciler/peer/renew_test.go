package peer

import (
	"net/netip"
	"testing"
	"time"

	"github.com/spanmesh/span/reconciler/mesh"
)

// renewing is a machine with a peer behind two relays.
type renewing struct {
	t       *testing.T
	tracker Tracker
	in      Input
	seen    Observed
}

// newRenewing has the session's handshake made by the first relay. Initiator has the machine be the one that
// initiates.
func newRenewing(t *testing.T, initiator bool) *renewing {
	list := specs(1)
	list[0].Registered, list[0].Probes = []mesh.Key{{101}, {102}}, true
	r := &renewing{t: t, in: behindRelays(list), seen: upAt(1, relayOne)}
	if r.in.Probing = true; initiator {
		r.in.Self = mesh.Key{0, 1}
	}
	if c := r.pass(0); c.Action.Renew || !c.IsUp() {
		t.Fatalf("at first: %+v", c.Action)
	}
	return r
}

// pass does a pass some milliseconds after the start, and carries out what it asks for.
func (r *renewing) pass(milliseconds int) *Connection {
	r.t.Helper()
	now := start.Add(time.Duration(milliseconds) * time.Millisecond)
	r.in.Observed = []Observed{r.seen}
	commit(r.t, &r.tracker, now, r.in)
	c := &r.tracker.Connections()[0]
	if c.Action.Endpoint.IsValid() {
		r.seen.Endpoint = c.Action.Endpoint
	}
	if c.Action.Renew {
		r.seen.LastHandshake, r.seen.ReceiveBytes, r.seen.TransmitBytes = time.Time{}, 0, 148
	}
	return c
}

// handshake has the peer answer at an endpoint.
func (r *renewing) handshake(milliseconds int, endpoint netip.AddrPort) {
	r.seen.LastHandshake, r.seen.Endpoint = start.Add(time.Duration(milliseconds)*time.Millisecond), endpoint
	r.seen.ReceiveBytes += 92
}

func TestLostRelayIsLeft(t *testing.T) {
	for name, initiator := range map[string]bool{"initiator": true, "other end": false} {
		t.Run(name, func(t *testing.T) {
			r := newRenewing(t, initiator)
			r.in.Registered[0].Lost = true
			c := r.pass(1000)
			if c.Action.Endpoint != relayTwo || c.Action.Renew != initiator || c.BlindRelay != (mesh.Key{102}) || !c.IsUp() {
				t.Fatalf("when its relay is lost: %+v, relay %v", c.Action, c.BlindRelay)
			}
			if c := r.pass(2000); c.Action.Renew || !c.IsUp() {
				t.Errorf("a second later: %+v, up %v", c.Action, c.IsUp())
			}
			if c := r.pass(2600); !c.Action.Renew || !c.IsUp() {
				t.Errorf("without a handshake after 1.6 s: %+v, up %v", c.Action, c.IsUp())
			}
			r.handshake(2700, relayTwo)
			for _, at := range []int{2800, 4000, 6000} {
				if c := r.pass(at); c.Action.Renew || c.Action.Endpoint.IsValid() || !c.IsUp() || !c.passage.staleSince.IsZero() {
					t.Errorf("after the handshake, at %d ms: %+v", at, c.Action)
				}
			}
			r.in.Registered[0].Lost = false
			if c := r.pass(7000); c.Action.Endpoint.IsValid() || c.Action.Renew {
				t.Errorf("when the first relay is back: %+v", c.Action)
			}
		})
	}
}

func TestLostRelayWithoutAnother(t *testing.T) {
	r := newRenewing(t, true)
	r.in.Registered[0].Lost, r.in.Registered[1].Lost = true, true
	if c := r.pass(1000); c.Action.Endpoint.IsValid() || c.Action.Renew {
		t.Errorf("when both are lost: %+v", c.Action)
	}
	r.in.Registered = r.in.Registered[:1]
	if c := r.pass(2000); c.Action.Endpoint.IsValid() || c.Action.Renew {
		t.Errorf("when the only one is lost: %+v", c.Action)
	}
	r.in.Registered[0].Lost, r.in.Registered[0].ForgotAt = false, start.Add(2500*time.Millisecond)
	if c := r.pass(3000); !c.Action.Renew {
		t.Errorf("when it is back without its table: %+v", c.Action)
	}
}

// TestRelayForgets has the relay start again: the session is older than its table.
func TestRelayForgets(t *testing.T) {
	r := newRenewing(t, true)
	r.in.Registered[0].ForgotAt = start.Add(time.Second)
	renewed := 0
	for at := 1000; at < 30_000; at += 100 {
		if r.pass(at).Action.Renew {
			renewed++
		}
	}
	if renewed != maxRenewals {
		t.Errorf("without an answer, %d new sessions were begun", renewed)
	}
	r.handshake(30_000, relayOne)
	if c := r.pass(30_100); c.Action.Renew || !c.IsUp() {
		t.Errorf("after the handshake: %+v", c.Action)
	}
}

// TestPeerWithoutAnAgent has nobody else begin a session.
func TestPeerWithoutAnAgent(t *testing.T) {
	r := newRenewing(t, false)
	r.in.Specs[0].Probes = false
	r.in.Registered[0].ForgotAt = start.Add(time.Second)
	if c := r.pass(1100); !c.Action.Renew {
		t.Errorf("it waits for the peer: %+v", c.Action)
	}
}

// TestReturnToARelay has a path be lost, during which the handshakes passed the relay or did not.
func TestReturnToARelay(t *testing.T) {
	for name, direct := range map[string]bool{"the relay knows the session": false, "the session was made directly": true} {
		t.Run(name, func(t *testing.T) {
			r := newRenewing(t, true)
			r.in.Paths = []mesh.Path{{Peer: mesh.Key{1}, Endpoint: away}}
			if c := r.pass(1000); c.Action.Endpoint != away || c.Action.Renew {
				t.Fatalf("with a path: %+v", c.Action)
			}
			if r.pass(2000); direct {
				r.handshake(3000, away)
			}
			r.pass(4000)
			r.in.Paths = nil
			want := r.in.behind(&r.in.Specs[0])[0]
			c := r.pass(5000)
			if c.Action.Endpoint != want {
				t.Fatalf("without it: %+v", c.Action)
			}
			if known := !direct && want == relayOne; c.Action.Renew == known {
				t.Errorf("back at %v: renewed %v", want, c.Action.Renew)
			}
		})
	}
}

// TestCountersGoOnWhenAPeerIsMadeAnew has WireGuard's counters start at zero again, as with a new session,
// a process that was restarted, or another program that removes the peer.
func TestCountersGoOnWhenAPeerIsMadeAnew(t *testing.T) {
	var s Status
	now := start
	for _, c := range []struct {
		name                  string
		seen                  Observed
		received, transmitted int64
	}{
		{"those of an earlier process", Observed{Present: true, ReceiveBytes: 1000, TransmitBytes: 2000}, 1000, 2000},
		{"they grow", Observed{Present: true, ReceiveBytes: 1100, TransmitBytes: 2000}, 1100, 2000},
		{"the peer is gone", Observed{}, 1100, 2000},
		{"it is back", Observed{Present: true, TransmitBytes: 148}, 1100, 2148},
		{"they grow again", Observed{Present: true, ReceiveBytes: 92, TransmitBytes: 180}, 1192, 2180},
		{"it was made anew between two readings", Observed{Present: true, ReceiveBytes: 92, TransmitBytes: 148}, 1284, 2328},
		{"nothing changes", Observed{Present: true, ReceiveBytes: 92, TransmitBytes: 148}, 1284, 2328},
	} {
		now = now.Add(time.Second)
		s, _ = Step(now, Spec{}, s, c.seen)
		if s.Received != c.received || s.Transmitted != c.transmitted {
			t.Errorf("%s: received %d, transmitted %d, want %d and %d", c.name, s.Received, s.Transmitted, c.received, c.transmitted)
		}
	}
}
