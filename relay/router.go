package relay

import (
	"errors"
	"net/netip"
	"time"
)

// Key is a public or private key of WireGuard.
type Key = [32]byte

// Source is where a packet comes from or goes to.
type Source struct {
	// Addr is the other end's address. Of a stream, it is only for budgets.
	Addr netip.AddrPort
	// Stream is a stream's number, and 0 for UDP.
	Stream uint64
}

// Packet is a packet that a front is to send.
type Packet struct {
	To   Source
	Data []byte
}

// Router decides where packets go. It is for one goroutine.
type Router struct {
	public Key
	limits Limits
	counts Counts
}

// New returns a Router without members.
func New(private Key, limits Limits) (*Router, error) {
	if private == (Key{}) {
		return nil, errors.New("relay: the private key is empty")
	}
	return &Router{limits: limits}, nil
}

// PublicKey returns the relay's public key.
func (r *Router) PublicKey() Key { return r.public }

// Handle returns what is to be sent for a packet. Data is the packet, or a buffer of the router; it
// is valid until the next call.
func (r *Router) Handle(now time.Time, from Source, packet []byte) (out []Packet) { return nil }

// Join lets a member of a cluster register for JoinFor. From is where the call came from.
// WithoutAgent are the keys of machines of the cluster that do not register.
func (r *Router) Join(now time.Time, cluster string, member Key, from netip.Addr, withoutAgent []Key) error {
	return nil
}

// Leave ends what Join has allowed.
func (r *Router) Leave(cluster string, member Key) {}

// Closed reports that a stream has ended.
func (r *Router) Closed(stream uint64) {}

// Expire forgets what is too old, and returns when it is to be called again.
func (r *Router) Expire(now time.Time) (next time.Time) { return now.Add(time.Second) }

// Save returns what Restore takes. It has the keys of the sessions with the relay: it is a secret.
func (r *Router) Save(now time.Time) []byte { return nil }

// Restore takes over what another Router with the same key has saved, for a planned restart.
func (r *Router) Restore(now time.Time, saved []byte) error { return nil }

// Counts returns what the router has done and knows.
func (r *Router) Counts() Counts { return r.counts }
