package server

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"
)

// BenchmarkMakeRoom looks at 50,000 readers, each with a message that it does not take: too
// little, and for too short a time, to be ended; or all ended.
func BenchmarkMakeRoom(b *testing.B) {
	const readers = 50_000
	for name, c := range map[string]struct {
		addresses int
		untaken   time.Duration
	}{
		"of 12 addresses, none ended":     {12, 0},
		"of 50,000 addresses, none ended": {readers, 0},
		"of 50,000 addresses, all ended":  {readers, time.Minute},
	} {
		b.Run(name, func(b *testing.B) {
			a := newAccount(readers*1024, func() {})
			now := time.Now()
			for i := range readers {
				var at [16]byte
				binary.BigEndian.PutUint32(at[:], uint32(i%c.addresses)) //nolint:gosec // small
				r := newReader(nil, netip.AddrFrom16(at), nil, []*message{newMessage(a, make([]byte, 512))}, nil)
				r.held.first.at = now.Add(-c.untaken)
				a.open(r)
			}
			for b.Loop() {
				ended := chooseEnded(a.holders(now), 1<<40, readers*2048, netip.Addr{}, 0)
				if want := c.untaken > 0; want != (len(ended) == readers) {
					b.Fatalf("%d are ended", len(ended))
				}
			}
		})
	}
}
