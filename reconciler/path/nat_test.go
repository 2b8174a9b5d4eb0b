package path_test

import (
	"math/rand/v2"
	"net/netip"
	"time"
)

// kind is a kind of box between two networks. Those but router, firewall and blocked are NATs of IPv4,
// and firewalls for IPv6.
type kind string

const (
	// router passes everything on.
	router kind = "router"
	// firewall takes in only answers, and changes no address.
	firewall kind = "firewall"
	// full has one port for a machine, and takes in everything.
	full kind = "full"
	// address has one port for a machine, and takes in what comes from an address that it sent to.
	address kind = "address"
	// port has one port for a machine, and takes in what comes from an endpoint that it sent to.
	port kind = "port"
	// linux masquerades and drops the rest: a port stays as long as no other flow has it.
	linux kind = "linux"
	// open is the same and drops nothing: what comes unasked becomes a flow of the router's own.
	open kind = "open"
	// symmetric has another port for each destination.
	symmetric kind = "symmetric"
	// blocked passes no UDP on.
	blocked kind = "blocked"
)

const (
	// unreplied and replied are how long a flow is kept after its last packet, as Linux has them.
	unreplied, replied = 30 * time.Second, 120 * time.Second
	// natPort is the port that NATs of the kinds full, address and port give at first.
	natPort = 40000
)

// flow is what a box knows of two endpoints that exchange packets.
type flow struct {
	// inside is the machine's endpoint; invalid for the router's own flow.
	inside, outer, remote netip.AddrPort
	last                  time.Time
	replied               bool
}

// nat is a box's table, a pure function of packets and their time.
type nat struct {
	kind    kind
	outer   netip.Addr
	hairpin bool
	flows   []*flow
	// ports are those of machines, for kinds with one port for a machine.
	ports map[netip.AddrPort]uint16
	next  uint16
	rng   *rand.Rand
}

func (n *nat) expire(now time.Time) {
	kept := n.flows[:0]
	for _, f := range n.flows {
		if age := now.Sub(f.last); age < unreplied || f.replied && age < replied {
			kept = append(kept, f)
		}
	}
	n.flows = kept
}

// reboot loses the table; ports are others than before.
func (n *nat) reboot() {
	n.flows, n.ports = nil, nil
	n.next += 100
}

// out returns where a packet of the inside comes from after the box.
func (n *nat) out(now time.Time, src, dst netip.AddrPort) (netip.AddrPort, bool) {
	n.expire(now)
	if n.kind == router {
		return src, true
	}
	if n.kind == blocked {
		return src, false
	}
	for _, f := range n.flows {
		if f.inside == src && f.remote == dst {
			f.last = now
			return f.outer, true
		}
	}
	f := &flow{inside: src, remote: dst, last: now, outer: n.outerOf(src, dst)}
	n.flows = append(n.flows, f)
	return f.outer, true
}

func (n *nat) outerOf(src, dst netip.AddrPort) netip.AddrPort {
	if src.Addr().Is6() || n.kind == firewall {
		return src
	}
	switch n.kind {
	case full, address, port:
		if n.ports == nil {
			n.ports = map[netip.AddrPort]uint16{}
		}
		if n.ports[src] == 0 {
			n.ports[src] = natPort + n.next
			n.next++
		}
		return netip.AddrPortFrom(n.outer, n.ports[src])
	case symmetric:
		return n.free(netip.AddrPortFrom(n.outer, uint16(n.rng.IntN(1<<15)+1<<15)), dst)
	default:
		return n.free(netip.AddrPortFrom(n.outer, src.Port()), dst)
	}
}

// free returns an endpoint that no other flow with a destination has.
func (n *nat) free(wanted, dst netip.AddrPort) netip.AddrPort {
	for _, f := range n.flows {
		if f.outer == wanted && f.remote == dst {
			return n.free(netip.AddrPortFrom(n.outer, uint16(n.rng.IntN(1<<15)+1<<15)), dst)
		}
	}
	return wanted
}

// in returns where a packet from outside goes.
func (n *nat) in(now time.Time, src, dst netip.AddrPort) (netip.AddrPort, bool) {
	n.expire(now)
	if n.kind == router {
		return dst, true
	}
	for _, f := range n.flows {
		if f.outer == dst && f.remote == src {
			f.last = now
			f.replied = f.replied || f.inside.IsValid()
			return f.inside, f.inside.IsValid()
		}
	}
	if dst.Addr().Is6() {
		return dst, false
	}
	switch n.kind {
	case full, address:
		return n.mapped(src, dst)
	case open:
		n.flows = append(n.flows, &flow{outer: dst, remote: src, last: now})
	}
	return dst, false
}

// mapped returns the machine with a port of the NAT, if packets of a source are let in.
func (n *nat) mapped(src, dst netip.AddrPort) (netip.AddrPort, bool) {
	sentTo := n.kind == full
	for _, f := range n.flows {
		sentTo = sentTo || f.outer == dst && f.remote.Addr() == src.Addr()
	}
	for inside, p := range n.ports {
		if p == dst.Port() && sentTo {
			return inside, true
		}
	}
	return dst, false
}
