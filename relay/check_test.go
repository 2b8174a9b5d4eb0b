package relay_test

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"github.com/spanmesh/span/relay"
	"github.com/spanmesh/span/relay/internal/wgtest"
)

// check returns a check with an ID of one byte again and again.
func check(id byte) []byte {
	b := append([]byte("Spn\x01\x06\x00\x00\x00"), bytes.Repeat([]byte{id}, 8)...)
	return append(b, make([]byte, 16)...)
}

// answer returns what the relay answers to a check from a source: whether that is a member's, and the name
// of its table.
func (l *lab) answer(t testing.TB, from relay.Source) (registered bool, table string) {
	t.Helper()
	l.Do(func() {
		out := l.router.Handle(time.Now(), from, check(7))
		if len(out) != 1 || out[0].To != from || len(out[0].Data) != 32 || !bytes.HasPrefix(out[0].Data, []byte("Spn\x01\x07")) ||
			!bytes.Equal(out[0].Data[8:16], bytes.Repeat([]byte{7}, 8)) {
			t.Fatalf("a check from %v is answered by %v", from, out)
		}
		registered, table = out[0].Data[5] == 1, string(out[0].Data[16:24])
	})
	return registered, table
}

func TestChecks(t *testing.T) {
	private, _ := newKey(t)
	l := newLab(t)
	l.router, _ = relay.New(private, relay.DefaultLimits())
	pair(t, l)
	member, stranger := relay.Source{Addr: netip.MustParseAddrPort("198.51.100.1:1000")}, relay.Source{Addr: netip.MustParseAddrPort("198.51.100.1:1001")}
	is, table := l.answer(t, member)
	if !is {
		t.Error("a member is not registered")
	}
	if is, other := l.answer(t, stranger); is || other != table {
		t.Errorf("a stranger is registered: %v, of table %q", is, other)
	}
	for name, c := range map[string]struct {
		saved []byte
		same  bool
	}{
		"a planned restart": {l.router.Save(time.Now()), true},
		"a killed relay":    {l.router.SaveMembers(time.Now()), false},
	} {
		l.Do(func() {
			l.router, _ = relay.New(private, relay.DefaultLimits())
			if err := l.router.Restore(time.Now(), c.saved); err != nil {
				t.Fatal(err)
			}
		})
		if is, now := l.answer(t, member); is != c.same || now == table != c.same {
			t.Errorf("after %s, the member is registered: %v, of table %q, before %q", name, is, now, table)
		}
	}
}

func TestChecksAreBounded(t *testing.T) {
	l := newLab(t)
	from, now, answered := relay.Source{Addr: netip.MustParseAddrPort("198.51.100.1:1000")}, time.Now(), 0
	for i := range 1000 {
		answered += len(l.router.Handle(now.Add(time.Duration(i)*10*time.Millisecond), from, check(1)))
	}
	if answered < 200 || answered > 250 {
		t.Errorf("%d of 1000 checks in 10 s were answered", answered)
	}
	for name, packet := range map[string][]byte{"cut": check(1)[:31], "longer": append(check(1), 0), "of another kind": append([]byte("Spn\x01\x07"), make([]byte, 27)...)} {
		if out := l.router.Handle(now, relay.Source{Addr: netip.MustParseAddrPort("198.51.100.9:9")}, packet); len(out) > 0 {
			t.Errorf("one that is %s is answered", name)
		}
	}
}

// TestForgedChecks have the source of a member, which the relay is to answer all the same.
func TestForgedChecks(t *testing.T) {
	l := newLab(t)
	pair(t, l)
	member := relay.Source{Addr: netip.MustParseAddrPort("198.51.100.1:1000")}
	l.Do(func() {
		now := time.Now()
		for i := range 20_000 {
			now = now.Add(time.Millisecond)
			if out := l.router.Handle(now, member, check(1)); len(out) != 1 {
				t.Fatalf("check %d of a thousand a second is not answered", i)
			}
		}
		if out := l.router.Handle(now, member, check(7)); len(out) != 1 || out[0].Data[8] != 7 {
			t.Error("the member's own check is not answered")
		}
	})
}

// TestAMemberLeavesAStream has a member move from a stream to UDP, while packets are still on their way by
// the stream.
func TestAMemberLeavesAStream(t *testing.T) {
	l := newLab(t)
	at := netip.MustParseAddrPort("198.51.100.2:2000")
	stream := relay.Source{Addr: at, Stream: 7}
	byUDP := false
	l.Do(func() {
		l.Route = func(from, to netip.AddrPort, p []byte) (out []wgtest.Packet) {
			source := relay.Source{Addr: from}
			// What is for the relay itself, and has no content, goes by UDP first.
			if from == at && (!byUDP || len(p) > 32) {
				source = stream
			}
			for _, a := range l.router.Handle(time.Now(), source, p) {
				out = append(out, wgtest.Packet{From: relayAt, To: a.To.Addr, Data: a.Data})
				select {
				case l.seen <- a:
				default:
				}
			}
			return out
		}
	})
	a, b := pair(t, l)
	ping(t, a, b)
	ping(t, b, a)
	l.Do(func() { byUDP = true })
	b.Remove(t, l.router.PublicKey())
	l.register(t, b)
	l.await(t, "move", func(c relay.Counts) bool { return c.Moves == 1 && c.Registered == 2 })
	if is, _ := l.answer(t, relay.Source{Addr: at}); !is {
		t.Error("the member is not where it is now")
	}
	if is, _ := l.answer(t, stream); is {
		t.Error("the member is still at the stream")
	}
	ping(t, b, a) // by the stream
	ping(t, a, b)
	l.Do(func() {
		if c := l.router.Counts(); c.Flows != 2 || c.Nudges != 0 || c.Dropped[relay.UnknownSender] > 0 {
			t.Errorf("the session was interrupted: %+v", c)
		}
		l.router.Closed(stream.Stream)
		if !l.router.Registered(relay.Source{Addr: at}) || l.router.Registered(stream) {
			t.Error("the end of the stream has moved the member")
		}
	})
	ping(t, a, b)
}
