package portmap

import (
	"errors"
	"net/netip"
	"time"
)

// Protocol is a protocol by which gateways are asked for a mapping.
type Protocol string

// The protocols.
const (
	// PCP is the Port Control Protocol (RFC 6887).
	PCP Protocol = "PCP"
	// NATPMP is the NAT Port Mapping Protocol (RFC 6886).
	NATPMP Protocol = "NAT-PMP"
	// UPnP is the service WANIPConnection or WANPPPConnection of an Internet Gateway Device.
	UPnP Protocol = "UPnP"
)

var (
	// ErrNoAnswer is the error of a gateway that does not answer by a protocol, or cannot be asked now.
	ErrNoAnswer = errors.New("no answer")
	// ErrUnsupported is the error of a gateway that speaks another protocol.
	ErrUnsupported = errors.New("not supported")
	// ErrForgotten is the error of a check that does not find the mapping.
	ErrForgotten = errors.New("the gateway has no such mapping")
)

// Kind is what the gateway is asked to do.
type Kind int

// The kinds of calls.
const (
	// Map makes a mapping, or renews it.
	Map Kind = iota + 1
	// Check asks whether the gateway still has the mapping, and for its outside address.
	Check
	// Release deletes the mapping.
	Release
)

// String returns the kind in a word.
func (k Kind) String() string {
	return map[Kind]string{Map: "map", Check: "check", Release: "release"}[k]
}

// Nonce shows the gateway that a mapping is renewed or deleted by who has made it (RFC 6887, section
// 11.1).
type Nonce [12]byte

// String hides the nonce: whoever knows it can delete the mapping.
func (Nonce) String() string { return "(hidden)" }

// Call is what the gateway is asked for.
type Call struct {
	Kind     Kind
	Protocol Protocol
	// Gateway is the gateway's address, with a zone where it needs one.
	Gateway netip.Addr
	// Own is the machine's address.
	Own netip.Addr
	// Port is the machine's port.
	Port uint16
	// External is the outer address and port that the gateway has given before; without an address,
	// a port to suggest.
	External netip.AddrPort
	// Lifetime is for how long the mapping is asked for.
	Lifetime time.Duration
	Nonce    Nonce
}

// Answer is what the gateway has answered.
type Answer struct {
	// External is the outer address and port. The answer to a Check may have none.
	External netip.AddrPort
	// Lifetime is for how long the gateway keeps the mapping; 0 for ever.
	Lifetime time.Duration
	// Epoch is for how long the gateway has kept its mappings (RFC 6887, section 8.5); nil if it does
	// not say.
	Epoch *time.Duration
}
