package front

import (
	"errors"
	"net/http"
	"net/netip"
	"time"

	"github.com/spanmesh/span/relay"
	"github.com/spanmesh/span/relay/stream"
)

// registerTime is how long a stream may be open without a member's registration.
const registerTime = 20 * time.Second

// ErrStreams is returned by ServeStream when Limits.Streams or StreamsPerAddress is reached, or the relay
// is stopping.
var ErrStreams = errors.New("relay: too many streams are open")

// member is a stream, probably a member's.
type member struct {
	conn *stream.Conn
	from relay.Source
	// registered is when a member was last seen to be registered there.
	registered time.Time
}

// ServeStream answers a request for a stream, and carries its packets until it ends. Caller is where
// the request comes from, by what a trusted proxy says of it.
func (f *Front) ServeStream(w http.ResponseWriter, r *http.Request, caller netip.AddrPort) error {
	key := relay.Network(caller.Addr())
	if !f.reserve(key) {
		http.Error(w, "too many streams of relays are open", http.StatusServiceUnavailable)
		return ErrStreams
	}
	defer f.unreserve(key)
	conn, err := stream.Accept(w, r)
	if err != nil {
		return err
	}
	return f.carry(conn, caller)
}

// reserve counts a stream of a network.
func (f *Front) reserve(key netip.Addr) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	l := f.options.Limits
	if f.stopped || f.ofAddress[key] >= l.StreamsPerAddress || f.reserved >= l.Streams {
		return false
	}
	f.ofAddress[key]++
	f.reserved++
	return true
}

// unreserve undoes reserve.
func (f *Front) unreserve(key netip.Addr) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reserved--
	if f.ofAddress[key]--; f.ofAddress[key] <= 0 {
		delete(f.ofAddress, key)
	}
}

// carry routes what a stream sends until it ends.
func (f *Front) carry(conn *stream.Conn, caller netip.AddrPort) error {
	m := &member{conn: conn, from: relay.Source{Addr: caller}, registered: time.Now()}
	f.mu.Lock()
	f.lastStream++
	m.from.Stream = f.lastStream
	f.streams[m.from.Stream] = m
	stopped := f.stopped
	f.mu.Unlock()
	if stopped {
		_ = conn.Close()
	}
	b := f.newBatch()
	var packets [][]byte
	var err error
	for {
		if packets, err = conn.ReceiveAll(packets); err != nil {
			break
		}
		b.begin()
		for _, p := range packets {
			b.fromStream(m.from, p)
		}
		b.end()
	}
	_, dropped := conn.Counts()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.streamDrops.Add(dropped)
	delete(f.streams, m.from.Stream)
	f.router.Closed(m.from.Stream)
	return err
}

// closeUnregistered ends streams at which no member is registered.
func (f *Front) closeUnregistered(now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, m := range f.streams {
		switch {
		case f.router.Registered(m.from):
			m.registered = now
		case now.Sub(m.registered) > registerTime:
			go func() { _ = m.conn.Close() }() // closing TLS may wait for the network
		}
	}
}
