package udp

import (
	"iter"
	"net"
	"net/netip"

	"golang.org/x/net/ipv6"
)

const (
	// receiveBatch is how many datagrams one system call receives.
	receiveBatch = 16
	// maxDatagram is the size of the largest datagram, in bytes.
	maxDatagram = 65535
)

// Packet is a packet that has come. Data holds until the next Receive.
type Packet struct {
	From netip.AddrPort
	// To is the address that it was sent to; not valid where the system does not tell it.
	To   netip.Addr
	Data []byte
}

// Receiver receives packets.
type Receiver struct {
	conn     *Conn
	messages []ipv6.Message
	got      int
}

// NewReceiver returns a receiver of the socket's packets. It has buffers of 1 MiB, of which the
// system gives what is used.
func (c *Conn) NewReceiver() *Receiver {
	r := &Receiver{conn: c, messages: make([]ipv6.Message, receiveBatch)}
	for i := range r.messages {
		r.messages[i].Buffers = [][]byte{make([]byte, maxDatagram)}
		r.messages[i].OOB = make([]byte, controlSize)
	}
	return r
}

// Receive waits for packets. It returns ErrStopped after Stop, and an error that wraps net.ErrClosed
// after Close.
func (r *Receiver) Receive() (err error) {
	if r.got, err = r.conn.batch.ReadBatch(r.messages, 0); err != nil {
		r.got = 0
		if r.conn.stopped.Load() {
			return ErrStopped
		}
	}
	return err
}

// All returns the packets that Receive has received.
func (r *Receiver) All() iter.Seq[Packet] {
	return func(yield func(Packet) bool) {
		for _, m := range r.messages[:r.got] {
			address, is := m.Addr.(*net.UDPAddr)
			if !is {
				continue
			}
			p := Packet{From: unmapped(address.AddrPort())}
			var size int
			p.To, size = parseControl(m.OOB[:m.NN])
			data := m.Buffers[0][:m.N]
			if size <= 0 {
				size = max(len(data), 1)
			}
			for len(data) > 0 {
				n := min(size, len(data))
				p.Data, data = data[:n:n], data[n:]
				if !yield(p) {
					return
				}
			}
		}
	}
}
