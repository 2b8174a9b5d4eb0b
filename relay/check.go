package relay

import "crypto/rand"

// magic is what packets begin with that are none of WireGuard's. Their kind follows.
const magic = "Spn\x01"

// A check asks whether the relay is there and still knows the sender. It has these fields; what is
// between them is zero:
//
//	0 magic | 4 kind | 5 registered | 8 ID | 16 table
//
// The answer repeats the ID, which is the sender's and random, says whether a member is registered where
// the check came from, and names the table of flows: it has another name once a relay has lost them.
const (
	checkKind       = 6
	checkAnswerKind = 7
	checkSize       = 32

	kindOffset       = 4
	registeredOffset = 5
	checkIDOffset    = 8
	tableOffset      = 16
	tableSize        = 8
)

const (
	// checksPerSecond and checksAtOnce are the rate of the checks of one source. Machines send one or two a
	// second, and several may share a meter.
	checksPerSecond, checksAtOnce = 20, 40
	// memberChecksPerSecond and memberChecksAtOnce are that of a member, which has a meter of its own: who
	// forges its address takes from it, and it would count the relay lost.
	memberChecksPerSecond, memberChecksAtOnce = 10_000, 10_000
)

func isCheck(packet []byte) bool {
	return len(packet) == checkSize && string(packet[:len(magic)]) == magic && packet[kindOffset] == checkKind
}

// check answers a check.
func (r *Router) check(from Source, sender *end, packet []byte) []Packet {
	registered := sender != nil && sender.member != nil && sender.located && sender.source.id() == from.id()
	var mayAnswer bool
	if registered {
		mayAnswer = sender.checks.take(r.now, 1, memberChecksPerSecond, memberChecksAtOnce)
	} else {
		mayAnswer = r.checksOf.ofSource(from).take(r.now, 1, checksPerSecond, checksAtOnce)
	}
	if !mayAnswer {
		return r.drop(OverRate)
	}
	var b [checkSize]byte
	copy(b[:], magic)
	b[kindOffset] = checkAnswerKind
	if registered {
		b[registeredOffset] = 1
	}
	copy(b[checkIDOffset:tableOffset], packet[checkIDOffset:])
	copy(b[tableOffset:], r.table[:])
	r.counts.Answered++
	return r.send(from, append(r.answer[:0], b[:]...))
}

// renameTable gives the table a new name: what it had before is lost.
func (r *Router) renameTable() {
	_, _ = rand.Read(r.table[:]) // never fails
	if r.table == ([tableSize]byte{}) {
		r.table[0] = 1 // zero stands for none where a table is saved
	}
}
