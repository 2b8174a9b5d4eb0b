package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/netlinkapply/firewall"
	"github.com/spanmesh/span/reconciler/portmap"
)

const (
	// port is that of PCP and NAT-PMP.
	port = 5351
	// maxMessage is the size of the longest message (RFC 6887, section 7).
	maxMessage = 1100
	// callTimeout bounds a call, whatever the protocol.
	callTimeout = 8 * time.Second
)

// waits are how long the answer to each try is waited for (RFC 6886, section 3.1, with an early end).
var waits = []time.Duration{250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second}

// errNoAddress is the error of a gateway that is not connected.
var errNoAddress = errors.New("the router has no outside address")

// refusal is the error of a result code.
func refusal(names map[uint32]string, code uint32) error {
	if name := names[code]; name != "" {
		return fmt.Errorf("refused: %s", name)
	}
	return fmt.Errorf("refused with code %d", code)
}

// Client asks gateways. Its packets have a firewall mark. It is for one goroutine; the zero value has no
// mark.
type Client struct {
	Mark uint32

	// upnp is what was found of a gateway.
	upnp *upnpService
}

// Do asks for what a call says. It returns within 8 seconds.
func (c *Client) Do(ctx context.Context, call *portmap.Call) (answer portmap.Answer, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	switch call.Protocol {
	case portmap.PCP:
		answer, err = c.pcp(ctx, call)
	case portmap.NATPMP:
		answer, err = c.natPMP(ctx, call)
	case portmap.UPnP:
		answer, err = c.byUPnP(ctx, call)
	default:
		err = portmap.ErrUnsupported
	}
	if err == nil && call.Kind == portmap.Map && (!isOuter(answer.External.Addr()) || answer.External.Port() == 0) {
		err = errNoAddress
	}
	if err != nil && ctx.Err() != nil {
		err = portmap.ErrNoAnswer
	}
	return answer, err
}

// isOuter reports whether a gateway may have an address outside.
func isOuter(a netip.Addr) bool { return a.IsGlobalUnicast() }

func (c *Client) pcp(ctx context.Context, call *portmap.Call) (answer portmap.Answer, err error) {
	err = c.exchange(ctx, call, pcpRequest(call), func(m []byte) (done bool, err error) {
		answer, done, err = parsePCP(call, m)
		return done, err
	})
	return answer, err
}

// natPMP asks for the mapping, and for the outside address, which is another question.
func (c *Client) natPMP(ctx context.Context, call *portmap.Call) (answer portmap.Answer, err error) {
	if !call.Gateway.Is4() {
		return answer, fmt.Errorf("%w: it is for IPv4 only", portmap.ErrUnsupported)
	}
	var outer portmap.Answer
	if call.Kind != portmap.Release {
		if err = c.exchange(ctx, call, natPMPAddressRequest(), func(m []byte) (done bool, err error) {
			outer, done, err = parseNATPMPAddress(m)
			return done, err
		}); err != nil {
			return answer, err
		}
	}
	if call.Kind == portmap.Check {
		outer.External = netip.AddrPortFrom(outer.External.Addr(), call.External.Port())
		return outer, nil
	}
	err = c.exchange(ctx, call, natPMPMapRequest(call), func(m []byte) (done bool, err error) {
		answer, done, err = parseNATPMPMap(call, m)
		return done, err
	})
	answer.External = netip.AddrPortFrom(outer.External.Addr(), answer.External.Port())
	return answer, err
}

// exchange sends a request until take is done with an answer. The socket is connected: it hears the
// gateway alone.
func (c *Client) exchange(ctx context.Context, call *portmap.Call, request []byte, take func([]byte) (done bool, err error)) error {
	dialer := net.Dialer{Control: c.control, LocalAddr: net.UDPAddrFromAddrPort(netip.AddrPortFrom(call.Own, 0))}
	conn, err := dialer.DialContext(ctx, "udp", netip.AddrPortFrom(call.Gateway, port).String())
	if err != nil {
		return fmt.Errorf("%w: %w", portmap.ErrNoAnswer, err)
	}
	defer func() { _ = conn.Close() }()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	buffer := make([]byte, maxMessage+1)
	for _, wait := range waits {
		until := time.Now().Add(wait)
		if _, err := conn.Write(request); err != nil && !errors.Is(err, unix.ECONNREFUSED) {
			return fmt.Errorf("%w: %w", portmap.ErrNoAnswer, err)
		}
		for ctx.Err() == nil {
			if err := conn.SetReadDeadline(until); err != nil {
				return err
			}
			n, err := conn.Read(buffer)
			if errors.Is(err, unix.ECONNREFUSED) {
				return fmt.Errorf("%w: port %d is closed", portmap.ErrNoAnswer, port)
			}
			if err != nil {
				break // it is time for the next try
			}
			if done, err := take(buffer[:n]); done {
				return err
			}
		}
	}
	return portmap.ErrNoAnswer
}

// control sets the mark of a socket, and its priority. A process that may not goes without.
func (c *Client) control(_, _ string, raw syscall.RawConn) error {
	return raw.Control(func(fd uintptr) {
		if c.Mark != 0 {
			_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, int(c.Mark))
		}
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PRIORITY, firewall.AgentPriority)
	})
}
