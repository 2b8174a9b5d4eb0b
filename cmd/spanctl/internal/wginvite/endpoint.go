package wginvite

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"github.com/spanmesh/span/reconciler/mesh"
)

// Endpoint is where a peer connects to.
type Endpoint struct {
	// Host is a name or an address.
	Host string
	Port uint16
	// Private is set where the peer reaches it in some networks only.
	Private bool
}

func (e Endpoint) String() string { return net.JoinHostPort(e.Host, strconv.Itoa(int(e.Port))) }

// address returns the address of the endpoint; invalid for a name.
func (e Endpoint) address() netip.Addr {
	a, err := netip.ParseAddr(e.Host)
	if err != nil {
		return netip.Addr{}
	}
	return a
}

// hostname is a name that DNS and the formats of WireGuard take, without an underscore's or a space's.
var hostname = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*\.?$`)

// ParseEndpoint reads an endpoint as a user types it: a name or an address, with a port or without.
func ParseEndpoint(text string, port uint16) (Endpoint, error) {
	host, digits := text, ""
	if a, err := netip.ParseAddr(strings.Trim(text, "[]")); err == nil {
		host = a.String()
	} else if h, p, err := net.SplitHostPort(text); err == nil {
		host, digits = h, p
	}
	if digits != "" {
		n, err := strconv.ParseUint(digits, 10, 16)
		if err != nil || n == 0 {
			return Endpoint{}, fmt.Errorf("%q has no port from 1 to 65535", text)
		}
		port = uint16(n)
	}
	if a, err := netip.ParseAddr(host); err == nil {
		if !a.IsGlobalUnicast() || a.Zone() != "" {
			return Endpoint{}, fmt.Errorf("%q is no address that other machines can reach", text)
		}
		return Endpoint{Host: a.Unmap().String(), Port: port, Private: !mesh.IsPublic(a.Unmap())}, nil
	}
	if len(host) > 253 || !hostname.MatchString(host) {
		return Endpoint{}, fmt.Errorf("%q is no name or address with a port, such as \"vpn.example.com:51820\" or \"[2001:db8::1]:51820\"", text)
	}
	return Endpoint{Host: host, Port: port}, nil
}

// ErrNoEndpoint says that a machine has no endpoint that a peer could connect to.
var ErrNoEndpoint = errors.New("announces no endpoint")

// BestEndpoint returns the endpoint of a machine at which most peers reach it: one that the config names,
// before a public one of IPv4, of IPv6, and any other. The announced ones are in the machine's order.
func BestEndpoint(configured, announced []netip.AddrPort) (Endpoint, error) {
	for _, fits := range []func(netip.AddrPort) bool{
		func(e netip.AddrPort) bool { return mesh.IsPublic(e.Addr()) && e.Addr().Is4() },
		func(e netip.AddrPort) bool { return mesh.IsPublic(e.Addr()) },
		netip.AddrPort.IsValid,
	} {
		for _, list := range [][]netip.AddrPort{configured, announced} {
			for _, e := range list {
				if fits(e) {
					return Endpoint{Host: e.Addr().String(), Port: e.Port(), Private: !mesh.IsPublic(e.Addr())}, nil
				}
			}
		}
	}
	return Endpoint{}, ErrNoEndpoint
}
