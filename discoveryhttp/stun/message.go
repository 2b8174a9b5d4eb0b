package stun

import (
	"net/netip"

	"github.com/pion/stun/v3"
)

const (
	// MaxMessage is the size of the longest message that is taken, in bytes: what every host takes over
	// IPv4 (RFC 791) without the headers of IP and UDP.
	MaxMessage = 576 - 20 - 8
	// software pads requests to the size of the longest answer, that over IPv6. Servers ignore what
	// it says (RFC 8489, section 14.14).
	software = "spanctl mesh machine"
)

// ID is the random transaction ID of a request, which its answer repeats (RFC 8489, section 5).
type ID [stun.TransactionIDSize]byte

// Request returns a Binding request.
func Request(id ID) []byte {
	m := stun.MustBuild(stun.NewTransactionIDSetter(id), stun.BindingRequest, stun.NewSoftware(software)) // it fails for a text that is too long
	return m.Raw
}

// decode reads a message into m, which keeps nothing of what it had.
func decode(m *stun.Message, message []byte) bool {
	if len(message) > MaxMessage || !stun.IsMessage(message) {
		return false
	}
	m.Raw = append(m.Raw[:0], message...)
	return m.Decode() == nil
}

// ParseAnswer returns the ID of the request that a message answers, and the address and port that the
// server has seen. ok is false for what is no such answer.
func ParseAnswer(message []byte) (id ID, seen netip.AddrPort, ok bool) {
	m := new(stun.Message)
	if !decode(m, message) || m.Type != stun.BindingSuccess {
		return id, seen, false
	}
	var mapped stun.XORMappedAddress
	if mapped.GetFrom(m) != nil || mapped.Port <= 0 {
		return id, seen, false
	}
	address, ok := netip.AddrFromSlice(mapped.IP)
	return m.TransactionID, netip.AddrPortFrom(address.Unmap(), uint16(mapped.Port)), ok
}

// answerer answers requests. It is for one goroutine.
type answerer struct{ request, answer stun.Message }

// to returns the answer to a message from an address, which holds until the next call. ok is false for
// what is no Binding request, and for one that is smaller than its answer.
func (a *answerer) to(message []byte, from netip.AddrPort) (answer []byte, ok bool) {
	if !decode(&a.request, message) || a.request.Type != stun.BindingRequest {
		return nil, false
	}
	err := a.answer.Build(stun.NewTransactionIDSetter(a.request.TransactionID), stun.BindingSuccess,
		&stun.XORMappedAddress{IP: from.Addr().AsSlice(), Port: int(from.Port())})
	return a.answer.Raw, err == nil && len(a.answer.Raw) <= len(message)
}
