package front

import (
	"net/netip"
	"time"

	"github.com/spanmesh/span/relay"
	"github.com/spanmesh/span/relay/udp"
)

// batch routes packets that came at once, and sends what comes of them. It is for one goroutine,
// which has the router from begin to end.
type batch struct {
	front   *Front
	senders []*udp.Sender
	other   func(from netip.AddrPort, packet []byte) []byte
	now     time.Time
	// own are copies of the router's own packets, which has one buffer for all.
	own []byte
}

func (f *Front) newBatch() *batch {
	b := &batch{front: f}
	for _, socket := range f.options.Sockets {
		b.senders = append(b.senders, socket.NewSender())
	}
	if f.options.Other != nil {
		b.other = f.options.Other()
	}
	return b
}

func (b *batch) begin() {
	b.front.mu.Lock()
	b.now = time.Now()
}

// fromUDP routes a packet of a socket.
func (b *batch) fromUDP(socket int, p udp.Packet) {
	if p.From.Port() == 0 || len(p.Data) == 0 {
		return
	}
	if p.Data[0] == 0 && b.other != nil {
		if answer := b.other(p.From, p.Data); len(answer) > 0 {
			b.senders[socket].Queue(p.From, p.To, b.copied(answer))
		}
		return
	}
	out := b.front.router.Handle(b.now, relay.Source{Addr: p.From}, p.Data)
	if len(out) > 0 && b.front.places != nil {
		b.front.places.note(b.now, p.From, place{socket, p.To})
	}
	b.queue(out, p.Data)
}

// fromStream routes a packet of a stream.
func (b *batch) fromStream(from relay.Source, packet []byte) {
	b.queue(b.front.router.Handle(b.now, from, packet), packet)
}

// queue takes what the router made of a packet.
func (b *batch) queue(out []relay.Packet, packet []byte) {
	for _, p := range out {
		if p.To.Stream != 0 {
			if m := b.front.streams[p.To.Stream]; m != nil {
				_ = m.conn.Send(p.Data) // a closed stream takes nothing
			}
			continue
		}
		if len(b.senders) == 0 {
			continue
		}
		data := p.Data
		if &data[0] != &packet[0] {
			data = b.copied(data)
		}
		to := place{}
		if b.front.places != nil {
			to = b.front.places.of(p.To.Addr)
		}
		b.senders[to.socket].Queue(p.To.Addr, to.local, data)
	}
}

func (b *batch) copied(data []byte) []byte {
	at := len(b.own)
	b.own = append(b.own, data...)
	return b.own[at:len(b.own):len(b.own)]
}

// end lets others have the router, and sends.
func (b *batch) end() {
	b.front.mu.Unlock()
	for _, s := range b.senders {
		if unsent := s.Flush(); unsent > 0 {
			b.front.unsent.Add(unsent)
		}
	}
	b.own = b.own[:0]
}
