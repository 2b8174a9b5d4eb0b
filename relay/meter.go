package relay

import (
	"encoding/binary"
	"hash/maphash"
	"net/netip"
	"time"
)

// instant is a time since the router was made.
type instant = time.Duration

// meter bounds a rate. It is the time at which all that was taken would be paid.
type meter instant

// take reports whether an amount may be taken now, at a rate in a second, where burst may be taken
// at once.
func (m *meter) take(now instant, amount, rate, burst float64) bool {
	if rate <= 0 {
		return false
	}
	paid := max(instant(*m), now)
	if float64(paid-now)+(amount-burst)/rate*float64(time.Second) > 0 {
		return false
	}
	*m = meter(paid + instant(amount/rate*float64(time.Second)))
	return true
}

// meters bound rates of sources in fixed memory: sources whose hashes meet share a meter.
type meters struct {
	seed  maphash.Seed
	slots []meter
}

func newMeters() meters { return meters{maphash.MakeSeed(), make([]meter, 4096)} }

func (m *meters) of(address netip.Addr, port uint16) *meter {
	h := maphash.Comparable(m.seed, netip.AddrPortFrom(address, port))
	return &m.slots[h%uint64(len(m.slots))]
}

// ofSource returns the meter of a source.
func (m *meters) ofSource(s Source) *meter {
	if s.Stream == 0 {
		a := s.id().Addr
		return m.of(a.Addr(), a.Port())
	}
	var id [16]byte
	binary.BigEndian.PutUint64(id[8:], s.Stream)
	return m.of(netip.AddrFrom16(id), 0)
}

// Network is what bounds by address count: an IPv4 address, or an IPv6 /64, the smallest network that a
// site gets (RFC 6177).
func Network(address netip.Addr) netip.Addr {
	address = address.Unmap().WithZone("")
	if address.Is4() || !address.IsValid() {
		return address
	}
	p, _ := address.Prefix(64)
	return p.Addr()
}
