package gateway

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"

	"golang.org/x/net/ipv4"

	"github.com/spanmesh/span/reconciler/portmap"
)

const (
	// maxAnswer is how much of an answer to a search is read, in bytes.
	maxAnswer = 2048
	// searchTries is how often a search is sent, and searchWait how long its answers are waited for. A
	// device may take a second (UPnP Device Architecture 1.1, section 1.3.2).
	searchTries = 2
	searchWait  = 1500 * time.Millisecond
	// searchTTL is how far a search goes (the same, section 1.1.2).
	searchTTL = 2
	// igdDevice is the first part of what gateways call themselves; versions 1 and 2 are known.
	igdDevice = "urn:schemas-upnp-org:device:InternetGatewayDevice:"
)

// searchGroup is where devices listen (UPnP Device Architecture 1.1, section 1.1.2).
var searchGroup = netip.MustParseAddrPort("239.255.255.250:1900")

// searchRequest returns a search for gateways.
func searchRequest(to netip.AddrPort) []byte {
	return []byte("M-SEARCH * HTTP/1.1\r\nHOST: " + to.String() + "\r\nMAN: \"ssdp:discover\"\r\nMX: 1\r\nST: " + igdDevice + "1\r\n\r\n")
}

// parseSearchAnswer returns where a gateway describes itself: at its own address. ok is false for what
// is no such answer.
func parseSearchAnswer(gateway netip.Addr, m []byte) (location *url.URL, ok bool) {
	if len(m) > maxAnswer {
		return nil, false
	}
	response, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(m)), nil)
	if err != nil {
		return nil, false
	}
	_ = response.Body.Close() // of a datagram
	if response.StatusCode != http.StatusOK || !strings.HasPrefix(response.Header.Get("ST"), igdDevice) {
		return nil, false
	}
	location, err = url.Parse(response.Header.Get("LOCATION"))
	if err != nil || !isAt(gateway, location) {
		return nil, false
	}
	return location, true
}

// isAt reports whether a URL is one of HTTP at an address.
func isAt(a netip.Addr, u *url.URL) bool {
	host, err := netip.ParseAddr(u.Hostname())
	return err == nil && host == a && u.Scheme == "http" && u.User == nil
}

// search returns where the gateway of a call describes itself. It is asked by itself, and with all that
// are on its network, since some listen to this only.
func (c *Client) search(ctx context.Context, call *portmap.Call) (*url.URL, error) {
	config := net.ListenConfig{Control: func(network, address string, raw syscall.RawConn) error { return c.control(network, address, raw) }}
	listener, err := config.ListenPacket(ctx, "udp4", netip.AddrPortFrom(call.Own, 0).String())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", portmap.ErrNoAnswer, err)
	}
	defer func() { _ = listener.Close() }()
	defer context.AfterFunc(ctx, func() { _ = listener.Close() })()
	conn, is := listener.(*net.UDPConn)
	if !is {
		return nil, net.UnknownNetworkError(listener.LocalAddr().Network())
	}
	group := ipv4.NewPacketConn(conn)
	if link, err := linkOf(call.Own); err == nil {
		_ = group.SetMulticastInterface(link) // else the routes choose
	}
	_ = group.SetMulticastTTL(searchTTL) // 1 by itself
	for range searchTries {
		var failures []error
		targets := []netip.AddrPort{netip.AddrPortFrom(call.Gateway, searchGroup.Port()), searchGroup}
		for _, to := range targets {
			if _, err := conn.WriteToUDPAddrPort(searchRequest(to), to); err != nil {
				failures = append(failures, err)
			}
		}
		if len(failures) == len(targets) {
			return nil, fmt.Errorf("%w: %w", portmap.ErrNoAnswer, errors.Join(failures...))
		}
		if location := heardFrom(ctx, conn, call.Gateway); location != nil {
			return location, nil
		}
	}
	return nil, portmap.ErrNoAnswer
}

// heardFrom waits for an answer of a gateway; nil for none in time.
func heardFrom(ctx context.Context, conn *net.UDPConn, gateway netip.Addr) *url.URL {
	if err := conn.SetReadDeadline(time.Now().Add(searchWait)); err != nil {
		return nil
	}
	buffer := make([]byte, maxAnswer+1)
	for ctx.Err() == nil {
		n, from, err := conn.ReadFromUDPAddrPort(buffer)
		if err != nil {
			return nil
		}
		if from.Addr().Unmap() != gateway {
			continue
		}
		if location, ok := parseSearchAnswer(gateway, buffer[:n]); ok {
			return location
		}
	}
	return nil
}

// errNoLink is the error of an address that the machine does not have.
var errNoLink = errors.New("no link has that address")

// linkOf returns the link that has an address.
func linkOf(a netip.Addr) (*net.Interface, error) {
	links, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	for i := range links {
		addresses, err := links[i].Addrs()
		if err != nil {
			continue
		}
		for _, at := range addresses {
			if network, is := at.(*net.IPNet); is && network.IP.Equal(a.AsSlice()) {
				return &links[i], nil
			}
		}
	}
	return nil, errNoLink
}
