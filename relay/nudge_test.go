package relay_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/spanmesh/span/relay"
)

// TestNudges answer data from where no member is registered, and none of members.
func TestNudges(t *testing.T) {
	l := newLab(t)
	pair(t, l)
	data := make([]byte, 32)
	data[0], data[4] = 4, 99
	l.Do(func() {
		now := time.Now()
		before := l.router.Counts().Dropped[relay.UnknownReceiver]
		if out := l.router.Handle(now, relay.Source{Addr: netip.MustParseAddrPort("198.51.100.1:1000")}, data); len(out) > 0 {
			t.Errorf("data of a member for an unknown session is answered by %q", out[0].Data)
		}
		if n := l.router.Counts().Dropped[relay.UnknownReceiver] - before; n != 1 {
			t.Errorf("%d packets were counted as dropped", n)
		}
		if out := l.router.Handle(now, relay.Source{Addr: netip.MustParseAddrPort("198.51.100.1:1001")}, data); len(out) != 1 || string(out[0].Data[:5]) != "Spn\x01\x03" {
			t.Errorf("data of a stranger is answered by %v", out)
		}
	})
}
