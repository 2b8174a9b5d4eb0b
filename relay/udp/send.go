package udp

import (
	"net"
	"net/netip"
	"time"

	"golang.org/x/net/ipv6"
)

const (
	// maxSegments is how many packets one datagram has at most: UDP_MAX_SEGMENTS of old kernels.
	maxSegments = 64
	// maxSegmented is how many bytes one datagram has at most.
	maxSegmented = 65000
	// lookBack is how many datagrams a packet may be added to: streams of several machines mix.
	lookBack = 8
	// writeTime bounds how long a send waits for room in the kernel's buffer.
	writeTime = 100 * time.Millisecond
)

// datagram is packets for one receiver, all of one size but the last.
type datagram struct {
	to   netip.AddrPort
	from netip.Addr
	size int
	// bytes are those of all packets.
	bytes, packets int
	// full is set when the last packet was a smaller one.
	full bool
}

// Sender gathers packets and sends them.
type Sender struct {
	conn      *Conn
	datagrams []datagram
	messages  []ipv6.Message
	addresses []net.UDPAddr
	// failed are packets that could not be sent.
	failed uint64
}

// NewSender returns a sender on the socket.
func (c *Conn) NewSender() *Sender { return &Sender{conn: c} }

// Queue adds a packet for an address to what Flush sends. From is the address that it leaves from;
// if it is not valid, the system chooses. Data is not copied.
func (s *Sender) Queue(to netip.AddrPort, from netip.Addr, data []byte) {
	if s.conn.segments.Load() && s.join(to, from, data) {
		return
	}
	n := len(s.datagrams)
	s.datagrams = append(s.datagrams, datagram{to: to, from: from, size: len(data), bytes: len(data), packets: 1})
	if n == len(s.messages) {
		s.messages = append(s.messages, ipv6.Message{})
		s.addresses = append(s.addresses, net.UDPAddr{})
	}
	s.messages[n].Buffers = append(s.messages[n].Buffers[:0], data)
}

// join adds a packet to the last datagram for its receiver.
func (s *Sender) join(to netip.AddrPort, from netip.Addr, data []byte) bool {
	for i := len(s.datagrams) - 1; i >= max(0, len(s.datagrams)-lookBack); i-- {
		d := &s.datagrams[i]
		if d.to != to {
			continue
		}
		if d.from != from || d.full || len(data) > d.size || d.packets == maxSegments || d.bytes+len(data) > maxSegmented {
			return false
		}
		d.full = len(data) < d.size
		d.bytes += len(data)
		d.packets++
		s.messages[i].Buffers = append(s.messages[i].Buffers, data)
		return true
	}
	return false
}

// Flush sends what was queued. Packets that cannot be sent are dropped; it returns how many.
func (s *Sender) Flush() (dropped uint64) {
	if len(s.datagrams) == 0 {
		return 0
	}
	s.failed = 0
	for i, d := range s.datagrams {
		size := d.size
		if d.packets == 1 {
			size = 0
		}
		m := &s.messages[i]
		m.OOB = appendControl(m.OOB[:0], d.from, size)
		a := &s.addresses[i]
		a.IP, a.Port, a.Zone = appendIP(a.IP[:0], d.to.Addr()), int(d.to.Port()), d.to.Addr().Zone()
		m.Addr = a
	}
	_ = s.conn.udp.SetWriteDeadline(time.Now().Add(writeTime)) // a closed socket fails below
	for at := 0; at < len(s.datagrams); {
		n, err := s.conn.batch.WriteBatch(s.messages[at:len(s.datagrams)], 0)
		at += max(n, 0)
		if err == nil && n > 0 {
			continue
		}
		if at < len(s.datagrams) {
			s.retry(at, err)
			at++
		}
	}
	for i := range s.datagrams {
		clear(s.messages[i].Buffers) // what is sent is not kept
	}
	s.datagrams = s.datagrams[:0]
	return s.failed
}

// retry sends the packets of a datagram one by one, if that may help.
func (s *Sender) retry(i int, err error) {
	d := s.datagrams[i]
	alone, always := failsInParts(err)
	if d.packets == 1 || !alone {
		s.failed += uint64(d.packets)
		return
	}
	if always {
		s.conn.segments.Store(false)
	}
	control := appendControl(nil, d.from, 0)
	for _, data := range s.messages[i].Buffers {
		if _, _, err := s.conn.udp.WriteMsgUDPAddrPort(data, control, d.to); err != nil {
			s.failed++
		}
	}
}

func appendIP(b net.IP, a netip.Addr) net.IP {
	if a.Is4() {
		four := a.As4()
		return append(b, four[:]...)
	}
	sixteen := a.As16()
	return append(b, sixteen[:]...)
}
