package peer

import (
	"slices"
	"time"
)

// Contact is what passes between this machine and a peer that is not up. It shows which way
// packets are lost. It is zero while the peer is up.
type Contact struct {
	// SentBytes counts what was sent to the peer.
	SentBytes int64
	// Initiations are the handshake initiations that were sent. Those that WireGuard sends
	// between two readings together with other packets are not among them.
	Initiations int
	// Calls are the handshake initiations that were received, LastCall is the time of the last.
	Calls    int
	LastCall time.Time
	// Exhausted is set once every endpoint of the peer was tried.
	Exhausted bool
}

// noteSent notes that something of a size in bytes was sent.
func (c *Contact) noteSent(size int64) {
	if size <= 0 {
		return // WireGuard has made the peer anew
	}
	c.SentBytes += size
	if size%initiationSize == 0 {
		c.Initiations += int(size / initiationSize)
	}
}

// noteReceived notes that something of a size in bytes was received.
func (c *Contact) noteReceived(now time.Time, size int64) {
	if size > 0 && size%initiationSize == 0 {
		c.Calls += int(size / initiationSize)
		c.LastCall = now
	}
}

// noteContact notes that something was received or sent, of sizes in bytes.
func (s *Status) noteContact(now time.Time, received bool, in, out int64) {
	if received {
		s.HeardAt = now
		s.Contact.noteReceived(now, in)
	}
	s.Contact.noteSent(out)
}

// keptDowns is how many times of going down are kept.
const keptDowns = 5

// noteDown notes that the peer went down. What happens as this machine's own network changes,
// or as it wakes, says nothing about the peer.
func (s *Status) noteDown(now time.Time, networkChanged bool) {
	s.Echoes.forget()
	if networkChanged {
		return
	}
	kept := s.Downs[max(0, len(s.Downs)+1-keptDowns):]
	s.Downs = append(slices.Clone(kept), now)
}
