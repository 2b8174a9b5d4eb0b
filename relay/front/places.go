package front

import (
	"net/netip"
	"time"
)

const (
	// maxPlaces bounds the addresses of a generation, and placesFor is how long one lasts while
	// there is room. Members send every ten seconds.
	maxPlaces = 1 << 16
	placesFor = 5 * time.Minute
)

// place is where an address has sent a packet to: packets to it leave from there, as NATs let no
// others in.
type place struct {
	// socket is the number of the socket, and local its address; not valid for any.
	socket int
	local  netip.Addr
}

// places are those of the addresses that have sent something of late. To one that is forgotten,
// packets leave from the first socket and where the system's routes lead.
type places struct {
	current, before map[netip.AddrPort]place
	since           time.Time
}

func newPlaces() *places { return &places{current: map[netip.AddrPort]place{}} }

// note keeps the place that an address has sent to.
func (p *places) note(now time.Time, from netip.AddrPort, at place) {
	if len(p.current) >= maxPlaces || now.Sub(p.since) > placesFor {
		p.before, p.current, p.since = p.current, map[netip.AddrPort]place{}, now
	}
	if was, has := p.current[from]; !has || was != at {
		p.current[from] = at
	}
}

// of returns the place of an address.
func (p *places) of(to netip.AddrPort) place {
	if at, has := p.current[to]; has {
		return at
	}
	return p.before[to]
}
