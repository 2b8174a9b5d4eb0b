package gateway

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"github.com/spanmesh/span/reconciler/portmap"
)

// The layout of NAT-PMP (RFC 6886, sections 3.2 and 3.3).
const (
	natPMPVersion       = 0
	natPMPAddress       = 0
	natPMPMapUDP        = 1
	natPMPResponse      = 0x80
	natPMPAddressAnswer = 12
	natPMPMapAnswer     = 16
)

// natPMPResults are the result codes (RFC 6886, section 3.5).
var natPMPResults = map[uint32]string{
	1: "it knows no version 0 of NAT-PMP", 2: "not authorized", 3: "its network is down", 4: "out of resources", 5: "unsupported operation",
}

// natPMPAddressRequest returns the request for the outside address.
func natPMPAddressRequest() []byte { return []byte{natPMPVersion, natPMPAddress} }

// natPMPMapRequest returns the request of a call other than a check. A lifetime of 0 deletes, and has no
// outer port.
func natPMPMapRequest(c *portmap.Call) []byte {
	m := make([]byte, 12)
	m[0], m[1] = natPMPVersion, natPMPMapUDP
	binary.BigEndian.PutUint16(m[4:], c.Port)
	if c.Kind == portmap.Map {
		binary.BigEndian.PutUint16(m[6:], c.External.Port())
		binary.BigEndian.PutUint32(m[8:], uint32(c.Lifetime/time.Second))
	}
	return m
}

// parseNATPMP reads the header of an answer. done is false for what is none.
func parseNATPMP(m []byte, opcode byte) (epoch time.Duration, done bool, err error) {
	if len(m) >= pcpHeader && m[0] == pcpVersion && m[1]&pcpResponse != 0 {
		return 0, true, fmt.Errorf("%w: it speaks PCP only", portmap.ErrUnsupported)
	}
	if len(m) < 4 || len(m) > natPMPMapAnswer || m[0] != natPMPVersion {
		return 0, false, nil
	}
	code := uint32(binary.BigEndian.Uint16(m[2:]))
	switch {
	// A version or an operation that it does not know is answered with what it likes.
	case code != 0 && m[1]&natPMPResponse != 0:
		return 0, m[1] == natPMPResponse|opcode || code == 1 || code == 5, refusal(natPMPResults, code)
	case len(m) < 8 || m[1] != natPMPResponse|opcode:
		return 0, false, nil
	default:
		return time.Duration(binary.BigEndian.Uint32(m[4:])) * time.Second, true, nil
	}
}

// parseNATPMPAddress reads the answer with the outside address.
func parseNATPMPAddress(m []byte) (a portmap.Answer, done bool, err error) {
	epoch, done, err := parseNATPMP(m, natPMPAddress)
	if !done || err != nil || len(m) != natPMPAddressAnswer {
		return a, done && err != nil, err
	}
	return portmap.Answer{Epoch: &epoch, External: netip.AddrPortFrom(netip.AddrFrom4([4]byte(m[8:12])), 0)}, true, nil
}

// parseNATPMPMap reads the answer to a call other than a check. Its outer address has no value.
func parseNATPMPMap(c *portmap.Call, m []byte) (a portmap.Answer, done bool, err error) {
	epoch, done, err := parseNATPMP(m, natPMPMapUDP)
	if !done || err != nil || len(m) != natPMPMapAnswer || binary.BigEndian.Uint16(m[8:]) != c.Port {
		return a, done && err != nil, err
	}
	return portmap.Answer{Epoch: &epoch, External: netip.AddrPortFrom(netip.Addr{}, binary.BigEndian.Uint16(m[10:])),
		Lifetime: time.Duration(binary.BigEndian.Uint32(m[12:])) * time.Second}, true, nil
}
