// Package room bounds the connections that nobody has shown a right to.
package room

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Room is a listener that has place for some connections. Whoever comes always finds place: a
// connection that waits for longer than others gives it up. So nobody keeps others out by holding
// connections, but has to make new ones faster than others make their requests.
type Room struct {
	net.Listener
	// Limit is how many connections have place, and Share how many of them one client. Those that
	// are admitted do not count.
	Limit, Share int
	// AdmitTimeout is how long a connection may wait to be admitted; zero for any time.
	AdmitTimeout time.Duration
	// MaxAdmitted is how many connections are admitted at a time.
	MaxAdmitted int

	mu sync.Mutex
	// waiting are the connections that are not admitted, the oldest first.
	waiting []*Guest
	// admitted counts those that are.
	admitted int
}

// Guest is a connection in a Room.
type Guest struct {
	net.Conn
	room   *Room
	client netip.Prefix
	// ends closes the connection once it has waited for too long; nil if it may wait.
	ends *time.Timer
	// admitted and left are guarded by room.mu.
	admitted, left bool
}

// Accept implements net.Listener.
func (r *Room) Accept() (net.Conn, error) {
	conn, err := r.Listener.Accept()
	if err != nil {
		return nil, err
	}
	g := &Guest{Conn: conn, room: r, client: clientOf(conn)}
	if out := r.enter(g); out != nil {
		_ = out.Close() // the client sees that it is closed
	}
	return g, nil
}

// enter gives a guest a place, and returns the one that loses its own for that; nil if none does.
func (r *Room) enter(g *Guest) (out *Guest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.AdmitTimeout > 0 {
		g.ends = time.AfterFunc(r.AdmitTimeout, g.expire)
	}
	out = r.displaced(g.client)
	r.waiting = append(r.waiting, g)
	if out != nil {
		r.leave(out)
	}
	return out
}

// displaced returns the guest that makes place for another one of a client; nil if there is place. It
// is the oldest of the client that has its share already, or of the one that has most in a full room.
func (r *Room) displaced(client netip.Prefix) *Guest {
	count := map[netip.Prefix]int{}
	for _, g := range r.waiting {
		count[g.client]++
	}
	loses := client
	switch {
	case count[client] >= r.Share && !client.Addr().IsLoopback():
	case len(r.waiting) >= r.Limit:
		for _, g := range r.waiting {
			if count[g.client] > count[loses] {
				loses = g.client
			}
		}
	default:
		return nil
	}
	for _, g := range r.waiting {
		if g.client == loses {
			return g
		}
	}
	return nil
}

// leave forgets a guest. The lock is held.
func (r *Room) leave(g *Guest) {
	if g.left {
		return
	}
	g.left = true
	if g.ends != nil {
		g.ends.Stop()
	}
	if g.admitted {
		r.admitted--
		return
	}
	r.remove(g)
}

// remove ends the wait of a guest. The lock is held.
func (r *Room) remove(g *Guest) {
	for i, w := range r.waiting {
		if w == g {
			r.waiting = append(r.waiting[:i], r.waiting[i+1:]...)
			return
		}
	}
}

// admit reports whether a guest may stay for as long as it likes.
func (g *Guest) admit() bool {
	r := g.room
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case g.left:
		return false
	case g.admitted:
		return true
	case r.admitted >= r.MaxAdmitted:
		return false
	}
	if g.ends != nil {
		g.ends.Stop()
	}
	r.remove(g)
	r.admitted++
	g.admitted = true
	return true
}

// expire closes a connection that was not admitted in time.
func (g *Guest) expire() {
	g.room.mu.Lock()
	out := !g.admitted && !g.left
	if out {
		g.room.leave(g)
	}
	g.room.mu.Unlock()
	if out {
		_ = g.Conn.Close() // the client sees that it is closed
	}
}

// Close implements net.Conn.
func (g *Guest) Close() error {
	g.room.mu.Lock()
	g.room.leave(g)
	g.room.mu.Unlock()
	return g.Conn.Close()
}

// clientOf returns the client of a connection: an address of IPv4, or a /64 of IPv6, in which a host may
// have any address. In the /64 of this machine's own address, such as the mesh's, each address is a
// client. All of loopback is one client. The result is zero if the client is not known.
func clientOf(conn net.Conn) netip.Prefix {
	return clientAt(addressOf(conn.RemoteAddr()), addressOf(conn.LocalAddr()))
}

func clientAt(remote, local netip.Addr) netip.Prefix {
	bits := remote.BitLen()
	switch {
	case remote.IsLoopback():
		remote, bits = netip.IPv6Loopback(), 128
	case remote.Is6() && !prefix64(local).Contains(remote):
		bits = 64
	}
	return netip.PrefixFrom(remote, bits).Masked()
}

// prefix64 returns the /64 of an address of IPv6, and nothing of another one.
func prefix64(a netip.Addr) netip.Prefix {
	if !a.Is6() {
		return netip.Prefix{}
	}
	return netip.PrefixFrom(a, 64).Masked()
}

// addressOf returns the address of one end of a connection; zero if it is not known.
func addressOf(end net.Addr) netip.Addr {
	if tcp, is := end.(*net.TCPAddr); is {
		return tcp.AddrPort().Addr().Unmap().WithZone("")
	}
	return netip.Addr{}
}

// guestKey is the key of a request's connection in its context.
type guestKey struct{}

// WithGuest is the ConnContext of a server on a Room.
func WithGuest(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, guestKey{}, conn)
}

// Admit reports whether the connection of a request may stay for as long as it likes.
func Admit(ctx context.Context) bool {
	g, is := ctx.Value(guestKey{}).(*Guest)
	return is && g.admit()
}
