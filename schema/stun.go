package schema

import (
	"encoding"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// STUNServer is a server of STUN (RFC 8489): it answers with the address and port at which it sees a
// machine. The zero value is none.
type STUNServer struct {
	// Host is a name, or an address without brackets.
	Host string
	// Port is a port of UDP.
	Port uint16
}

var (
	_ encoding.TextUnmarshaler = (*STUNServer)(nil)
	_ encoding.TextMarshaler   = STUNServer{}
)

// UnmarshalText parses a host and a port, such as "stun.example.com:3478" or "[2001:db8::1]:3478".
func (s *STUNServer) UnmarshalText(text []byte) error {
	host, port, err := net.SplitHostPort(string(text))
	if err != nil {
		return errors.New("is not a host with a port")
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil || number == 0 {
		return errors.New("has a port that is not from 1 to 65535")
	}
	if a, err := netip.ParseAddr(host); err == nil {
		if a.Zone() != "" || a.Is4In6() || !a.IsGlobalUnicast() {
			return errors.New("is not at an address that other machines have")
		}
	} else if !isHostname(host) {
		return errors.New("has a host that is neither a name nor an address")
	}
	*s = STUNServer{Host: host, Port: uint16(number)}
	return nil
}

// maxHostname is the length of the longest name in DNS, in bytes (RFC 1035).
const maxHostname = 253

func isHostname(text string) bool {
	return text != "" && len(text) <= maxHostname && !strings.ContainsFunc(text, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '.' && r != '-' && r != '_'
	})
}

// MarshalText is the inverse of UnmarshalText.
func (s STUNServer) MarshalText() ([]byte, error) {
	return []byte(net.JoinHostPort(s.Host, strconv.Itoa(int(s.Port)))), nil
}
