package path

import "crypto/rand"

// A check asks a relay whether it is there; relay's check.go has the fields.
const (
	checkKind       = Kind(6)
	checkAnswerKind = Kind(7)
	checkSize       = 32

	registeredOffset = 5
	checkIDOffset    = 8
	tableOffset      = 16
)

// checkID tells checks apart. Its bytes are random.
type checkID [tableOffset - checkIDOffset]byte

// Table is the name of a relay's table of flows. It changes when the relay loses the table.
type Table [8]byte

func newCheckID() (id checkID) {
	_, _ = rand.Read(id[:]) // never fails
	return id
}

// check returns a check.
func (id checkID) check() []byte {
	b := make([]byte, checkSize)
	copy(b, magic)
	b[kindOffset] = byte(checkKind)
	copy(b[checkIDOffset:], id[:])
	return b
}

// checkAnswer is what a relay answers to a check.
type checkAnswer struct {
	id checkID
	// registered is set if a member is registered where the check came from.
	registered bool
	table      Table
}

func parseCheckAnswer(packet []byte) (a checkAnswer, ok bool) {
	if !IsCheckAnswer(packet) {
		return a, false
	}
	return checkAnswer{id: checkID(packet[checkIDOffset:]), registered: packet[registeredOffset] == 1, table: Table(packet[tableOffset:])}, true
}

// IsCheckAnswer reports whether a packet has the form of a relay's answer to a check.
func IsCheckAnswer(packet []byte) bool {
	return len(packet) == checkSize && string(packet[:len(magic)]) == magic && Kind(packet[kindOffset]) == checkAnswerKind
}
