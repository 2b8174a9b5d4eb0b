package gateway

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"github.com/spanmesh/span/reconciler/portmap"
)

// The layout of PCP: a header (RFC 6887, section 7), and what MAP has beside (section 11.1).
const (
	pcpVersion     = 2
	pcpMap         = 1
	pcpAnnounce    = 0
	pcpHeader      = 24
	pcpMapMessage  = pcpHeader + 36
	pcpResponse    = 0x80
	pcpSuccess     = 0
	protocolNumber = 17 // UDP
)

// pcpResults are the result codes (RFC 6887, section 7.4).
var pcpResults = map[uint32]string{
	1: "it knows no version 2 of PCP", 2: "not authorized", 3: "malformed request", 4: "it does not map ports", 5: "unsupported option",
	6: "malformed option", 7: "its network is down", 8: "out of resources", 9: "unsupported protocol", 10: "the quota of this machine is used up",
	11: "the port cannot be given", 12: "another NAT lies between", 13: "excessive remote peers",
}

// pcpRequest returns the request of a call.
func pcpRequest(c *portmap.Call) []byte {
	size, opcode := pcpMapMessage, byte(pcpMap)
	if c.Kind == portmap.Check {
		size, opcode = pcpHeader, pcpAnnounce
	}
	m := make([]byte, size)
	m[0], m[1] = pcpVersion, opcode
	put16(m[8:24], c.Own)
	if c.Kind == portmap.Check {
		return m
	}
	copy(m[24:36], c.Nonce[:])
	m[36] = protocolNumber
	binary.BigEndian.PutUint16(m[40:], c.Port)
	if c.Kind == portmap.Release {
		return m // a lifetime of 0; what is suggested is ignored
	}
	binary.BigEndian.PutUint32(m[4:], uint32(c.Lifetime/time.Second))
	binary.BigEndian.PutUint16(m[42:], c.External.Port())
	suggested := c.External.Addr()
	if !suggested.IsValid() {
		suggested = netip.IPv6Unspecified()
		if c.Own.Is4() {
			suggested = netip.IPv4Unspecified()
		}
	}
	put16(m[44:60], suggested)
	return m
}

// put16 writes an address as PCP has it: one of IPv4 is mapped to IPv6 (RFC 6887, section 5).
func put16(to []byte, a netip.Addr) {
	b := a.As16()
	copy(to, b[:])
}

// answersPCP reports whether a message has the header of an answer to a call (RFC 6887, section 7.2).
func answersPCP(c *portmap.Call, m []byte) bool {
	opcode := byte(pcpMap)
	if c.Kind == portmap.Check {
		opcode = pcpAnnounce
	}
	return len(m) >= pcpHeader && len(m) <= maxMessage && len(m)%4 == 0 && m[0] == pcpVersion && m[1] == pcpResponse|opcode
}

// parsePCP reads the answer to a call. done is false for what is none.
func parsePCP(c *portmap.Call, m []byte) (a portmap.Answer, done bool, err error) {
	if len(m) >= 4 && m[0] == natPMPVersion && m[1]&natPMPResponse != 0 {
		return a, true, fmt.Errorf("%w: it speaks NAT-PMP only", portmap.ErrUnsupported)
	}
	if !answersPCP(c, m) {
		return a, false, nil
	}
	epoch := time.Duration(binary.BigEndian.Uint32(m[8:])) * time.Second
	a = portmap.Answer{Epoch: &epoch}
	code := uint32(m[3])
	switch {
	case c.Kind == portmap.Check:
		return a, true, nil // also a refusal has the epoch
	case len(m) < pcpMapMessage || portmap.Nonce(m[24:36]) != c.Nonce || m[36] != protocolNumber || binary.BigEndian.Uint16(m[40:]) != c.Port:
		if code == pcpSuccess {
			return a, false, nil
		}
		// An error of the header repeats the request as far as it was understood.
		return a, len(m) == pcpHeader, refusal(pcpResults, code)
	case code != pcpSuccess:
		return a, true, refusal(pcpResults, code)
	}
	a.Lifetime = time.Duration(binary.BigEndian.Uint32(m[4:])) * time.Second
	a.External = netip.AddrPortFrom(netip.AddrFrom16([16]byte(m[44:60])).Unmap(), binary.BigEndian.Uint16(m[42:]))
	return a, true, nil
}
