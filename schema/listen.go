package schema

import (
	"encoding"
	"errors"
	"net/netip"
	"strconv"
	"strings"
)

// meshHost stands for the machine's own IPv6 address in the mesh.
const meshHost = "mesh"

// ListenAddress is where the agent listens besides its socket. The zero value is nowhere.
type ListenAddress struct {
	// Address is a literal address and port. Its address is invalid for that of the machine in the
	// mesh.
	Address netip.AddrPort
}

var (
	_ encoding.TextUnmarshaler = (*ListenAddress)(nil)
	_ encoding.TextMarshaler   = ListenAddress{}
)

// UnmarshalText parses an address with a port, such as "127.0.0.1:9851", "mesh:9851" or "".
func (l *ListenAddress) UnmarshalText(text []byte) error {
	*l = ListenAddress{}
	if len(text) == 0 {
		return nil
	}
	if port, is := strings.CutPrefix(string(text), meshHost+":"); is {
		number, err := strconv.ParseUint(port, 10, 16)
		if err != nil || number == 0 {
			return errors.New("has a port that is not from 1 to 65535")
		}
		l.Address = netip.AddrPortFrom(netip.Addr{}, uint16(number))
		return nil
	}
	address, err := netip.ParseAddrPort(string(text))
	switch {
	case err != nil:
		return errors.New("is not an address with a port")
	case address.Port() == 0:
		return errors.New("has port 0")
	case address.Addr().Zone() != "":
		return errors.New("has a zone, which is valid on one link only")
	case address.Addr().IsUnspecified():
		return errors.New("stands for all addresses: what is outside of the mesh is not served")
	case address.Addr().Is4In6():
		return errors.New("is IPv4 written as IPv6")
	case !address.Addr().IsLoopback() && !address.Addr().IsGlobalUnicast():
		return errors.New("is not an address of a machine")
	}
	l.Address = address
	return nil
}

// Equal reports whether two are the same.
func (l ListenAddress) Equal(other ListenAddress) bool { return l == other }

// IsZero reports whether l is nowhere.
func (l ListenAddress) IsZero() bool { return l.Address.Port() == 0 }

// MarshalText is the inverse of UnmarshalText.
func (l ListenAddress) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

func (l ListenAddress) String() string {
	switch {
	case l.IsZero():
		return ""
	case !l.Address.Addr().IsValid():
		return meshHost + ":" + strconv.Itoa(int(l.Address.Port()))
	default:
		return l.Address.String()
	}
}
