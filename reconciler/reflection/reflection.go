// Package reflection is the format of the datagrams by which a discovery server shows a machine
// whether UDP reaches it.
//
// They are for WireGuard's port. The first byte is that of no message of WireGuard, so that it
// drops them. The machine's firewall table counts them by their prefix where they arrive, and
// again where its firewall has accepted them.
package reflection

import "encoding/binary"

// Size is the size of a datagram in bytes.
const Size = 32

// Prefix is what each datagram begins with: "Spn", version 1, and the type, which is 4.
const Prefix = "Spn\x01\x00\x00\x00\x04"

const (
	nonceOffset  = len(Prefix)
	numberOffset = nonceOffset + len(Nonce{})
)

// Nonce is random, and the same in all datagrams of a call.
type Nonce [16]byte

// Datagram returns a datagram; number counts those of a call from 1.
func Datagram(nonce Nonce, number uint32) []byte {
	d := make([]byte, Size)
	copy(d, Prefix)
	copy(d[nonceOffset:], nonce[:])
	binary.BigEndian.PutUint32(d[numberOffset:], number)
	return d
}

// Counts are how many datagrams a machine has had, since its table was made.
type Counts struct {
	// Arrived are those that have reached the machine, before any rule of its firewall.
	Arrived uint64
	// Accepted are those of them that its firewall has let through.
	Accepted uint64
}

// Since returns what was counted since an earlier reading. Known is false if the table was made
// anew between the two.
func (c Counts) Since(before Counts) (counted Counts, known bool) {
	if c.Arrived < before.Arrived || c.Accepted < before.Accepted {
		return Counts{}, false
	}
	return Counts{c.Arrived - before.Arrived, c.Accepted - before.Accepted}, true
}
