package peer

import (
	"slices"
	"time"
)

// Contact is what passes between this machine and a peer that is not up. It shows which way
// packets are lost. Of a peer that is up it has the calls alone.
type Contact struct {
	// SentBytes counts what was sent to the peer.
	SentBytes int64
	// Initiations are the handshake initiations that were sent. Those that WireGuard sends
	// between two readings together with other packets are not among them.
	Initiations int
	// Calls are the handshake initiations that were received since the last sign that the peer hears
	// this machine: a handshake, or the answer to an echo. LastCall is the time of the last.
	Calls    int
	LastCall time.Time
	// echoes counts the echoes that were sent since the first call.
	echoes int
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
	if calls := callsIn(size); calls > 0 {
		c.Calls += calls
		c.LastCall = now
	}
}

const (
	// minCalls is how many calls without a handshake show that the peer does not hear the answers. Two
	// come where the initiations of both sides cross.
	minCalls = 3
	// minCallsExpired is the same where no echo is answered and the session has expired: where a tenth of
	// the packets is lost in each direction, one of five calls makes no handshake.
	minCallsExpired = 6
	// maxCallsRead is how many calls a reading is taken to have, mixedSize the size of what it may have
	// besides: data messages are a multiple of 16 bytes, unless they are as large as the MTU.
	maxCallsRead, mixedSize = 3, 1280
)

// callsIn returns how many handshake initiations are in what was received between two readings. It is
// at least one where there are only initiations.
func callsIn(size int64) int {
	switch {
	case onlyCalls(size):
		return int(size / initiationSize)
	case size > initiationSize && size < mixedSize && size%16 == initiationSize%16:
		return 1
	default:
		return 0
	}
}

// onlyCalls reports whether what was received is nothing but initiations.
func onlyCalls(size int64) bool {
	return size > 0 && size%initiationSize == 0 && size <= maxCallsRead*initiationSize
}

// heard forgets the calls, as the peer hears this machine.
func (c *Contact) heard() { c.Calls, c.LastCall, c.echoes = 0, time.Time{}, 0 }

// whileUp returns what is kept while the peer is up.
func (c *Contact) whileUp() Contact {
	return Contact{Calls: c.Calls, LastCall: c.LastCall, echoes: c.echoes}
}

// deaf reports whether the peer has called again and again, and no answer makes a handshake: it does
// not hear this machine. One that has answered echoes must have left several unanswered, and of others
// the session, during which data may pass, must have expired.
func (s *Status) deaf(now time.Time) bool {
	return s.echoes && s.Contact.Calls >= minCalls && s.Contact.echoes >= minEchoes ||
		s.Contact.Calls >= minCallsExpired && now.Sub(s.LastHandshake) >= RejectAfterTime
}

// noteContact notes that something was received or sent, of sizes in bytes.
func (s *Status) noteContact(now time.Time, received bool, in, out int64) {
	if received {
		s.HeardAt = InstantOf(now)
		s.Contact.noteReceived(now, in)
	}
	s.Contact.noteSent(out)
}

// keptDowns is how many times of going down are kept.
const keptDowns = 5

// noteDown notes that the peer went down. What happens as this machine's own network changes,
// or as it wakes, says nothing about the peer.
// One that does not hear this machine has one fault that lasts.
func (s *Status) noteDown(now time.Time, networkChanged bool) {
	s.Echoes.forget()
	if networkChanged || s.Contact.Calls >= minCalls {
		return
	}
	kept := s.Downs[max(0, len(s.Downs)+1-keptDowns):]
	s.Downs = append(slices.Clone(kept), now)
}
