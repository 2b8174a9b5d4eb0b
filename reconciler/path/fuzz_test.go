package path_test

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/spanmesh/span/reconciler/path"
)

// FuzzHeard takes any packets that come to the port, and those of a peer that says anything: at most two
// packets go back for one, to where it came from, and none is larger.
func FuzzHeard(f *testing.F) {
	f.Add([]byte{1, 0, 0, 0, 1, 2, 3}, uint16(40000), false)
	f.Add([]byte{2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, uint16(51820), true)
	f.Add([]byte("Spn\x01\x03"), uint16(1), false)
	f.Fuzz(func(t *testing.T, raw []byte, port uint16, sealed bool) {
		l := newLab(t, true, outer, inner)
		l.step()
		l.now = l.now.Add(time.Second)
		packet, from := raw, netip.AddrPortFrom(outer.Addr(), port)
		if sealed && len(raw) > 13 {
			p := path.Probe{Kind: path.Kind(raw[0]), ID: path.ID(raw[1:13]), Used: raw[13] == 1, Seen: netip.AddrPortFrom(outer.Addr(), binary.BigEndian.Uint16(raw))}
			m := l.theirs.Seal(p)
			packet = m[:]
		}
		_, _ = path.IsProbe(packet), path.IsNudge(packet)
		send := l.prober.Heard(l.now, from, packet)
		for _, s := range send {
			if s.To != from || len(s.Payload) > len(packet) {
				t.Errorf("%d bytes go to %v for %d from %v", len(s.Payload), s.To, len(packet), from)
			}
		}
		if len(send) > 2 {
			t.Errorf("%d packets go for one", len(send))
		}
		l.step()
		_ = l.report()
	})
}
