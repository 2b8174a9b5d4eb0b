package gateway

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"net/url"
	"time"

	"github.com/huin/goupnp"
	"github.com/huin/goupnp/dcps/internetgateway2"
	"github.com/huin/goupnp/soap"

	"github.com/spanmesh/span/reconciler/portmap"
)

const (
	// description is what a gateway's page shows of a mapping.
	description = "WireGuard (spanctl)"
	// udp is the name of the protocol.
	udp = "UDP"
	// portTries is how many outer ports are tried, if others have them.
	portTries = 4
	// firstFree is the first of the ports that no service has (RFC 6335, section 6).
	firstFree = 49152
)

// The codes of errors (UPnP WANIPConnection:2, section 2.5).
const (
	codeNoEntry        = 714
	codeConflict       = 718
	codeConflictOther  = 729
	codeSamePort       = 724
	codeOnlyPermanent  = 725
	codeNotAuthorized  = 606
	codeNotImplemented = 501
)

var upnpCodes = map[int]string{
	codeNotAuthorized: "not authorized", codeConflict: "another machine has the port", codeConflictOther: "another mechanism has the port",
	codeNotImplemented: "action failed", 728: "out of resources",
}

// connection is a service of a gateway that maps ports.
type connection interface {
	AddPortMappingCtx(ctx context.Context, remoteHost string, external uint16, protocol string, internal uint16, client string, enabled bool, description string, lease uint32) error
	DeletePortMappingCtx(ctx context.Context, remoteHost string, external uint16, protocol string) error
	GetExternalIPAddressCtx(ctx context.Context) (string, error)
	GetSpecificPortMappingEntryCtx(ctx context.Context, remoteHost string, external uint16, protocol string) (internal uint16, client string, enabled bool, description string, lease uint32, err error)
}

// upnpService is what was found of a gateway.
type upnpService struct {
	gateway netip.Addr
	connection
}

// byUPnP asks by UPnP. What was found of the gateway is kept until it fails.
func (c *Client) byUPnP(ctx context.Context, call *portmap.Call) (answer portmap.Answer, err error) {
	if !call.Gateway.Is4() {
		return answer, fmt.Errorf("%w: it is for IPv4 only here", portmap.ErrUnsupported)
	}
	if c.upnp == nil || c.upnp.gateway != call.Gateway {
		location, err := c.search(ctx, call)
		if err != nil {
			return answer, err
		}
		found, err := c.describe(ctx, call, location)
		if err != nil {
			return answer, err
		}
		c.upnp = &upnpService{call.Gateway, found}
	}
	switch call.Kind {
	case portmap.Release:
		err = c.upnp.DeletePortMappingCtx(ctx, "", call.External.Port(), udp)
	case portmap.Check:
		answer, err = c.upnp.look(ctx, call)
	default:
		answer, err = c.upnp.add(ctx, call)
	}
	if err == nil {
		return answer, nil
	}
	err = upnpError(err)
	if !errors.Is(err, portmap.ErrForgotten) {
		c.upnp = nil
	}
	return answer, err
}

// describe returns the service of a gateway that describes itself at a URL.
func (c *Client) describe(ctx context.Context, call *portmap.Call, location *url.URL) (connection, error) {
	client := c.http(call)
	root, err := fetch(ctx, client, location)
	if err != nil {
		return nil, fmt.Errorf("read its description: %w", err)
	}
	var found connection
	var under *goupnp.ServiceClient
	if s, err := internetgateway2.NewWANIPConnection2ClientsFromRootDevice(root, location); err == nil {
		found, under = s[0], &s[0].ServiceClient
	} else if s, err := internetgateway2.NewWANIPConnection1ClientsFromRootDevice(root, location); err == nil {
		found, under = s[0], &s[0].ServiceClient
	} else if s, err := internetgateway2.NewWANPPPConnection1ClientsFromRootDevice(root, location); err == nil {
		found, under = s[0], &s[0].ServiceClient
	} else {
		return nil, fmt.Errorf("%w: it describes no service that maps ports", portmap.ErrUnsupported)
	}
	under.SOAPClient.HTTPClient = *client
	if !isAt(call.Gateway, &under.SOAPClient.EndpointURL) {
		return nil, fmt.Errorf("%w: its service is at another address", portmap.ErrUnsupported)
	}
	return found, nil
}

// look checks a mapping.
func (s *upnpService) look(ctx context.Context, call *portmap.Call) (answer portmap.Answer, err error) {
	internal, client, _, _, _, err := s.GetSpecificPortMappingEntryCtx(ctx, "", call.External.Port(), udp)
	if err != nil {
		return answer, err
	}
	if a, err := netip.ParseAddr(client); err != nil || a != call.Own || internal != call.Port {
		return answer, portmap.ErrForgotten
	}
	answer.External, err = s.outer(ctx, call.External.Port())
	return answer, err
}

// add makes a mapping or renews it, at another outer port if the wanted one is another machine's.
func (s *upnpService) add(ctx context.Context, call *portmap.Call) (answer portmap.Answer, err error) {
	external, lease := call.External.Port(), call.Lifetime
	for range portTries {
		err = s.AddPortMappingCtx(ctx, "", external, udp, call.Port, call.Own.String(), true, description, uint32(lease/time.Second))
		switch codeOf(err) {
		case codeOnlyPermanent:
			lease = 0
			continue
		case codeConflict, codeConflictOther:
			external = firstFree + rand.N[uint16](1<<16-1-firstFree) //nolint:gosec // no secret
			continue
		case codeSamePort:
			external = call.Port
			continue
		}
		break
	}
	if err != nil {
		return answer, err
	}
	answer.Lifetime = lease
	answer.External, err = s.outer(ctx, external)
	return answer, err
}

// outer returns the outside address with a port.
func (s *upnpService) outer(ctx context.Context, port uint16) (netip.AddrPort, error) {
	text, err := s.GetExternalIPAddressCtx(ctx)
	if err != nil {
		return netip.AddrPort{}, err
	}
	a, err := netip.ParseAddr(text)
	if err != nil || !isOuter(a.Unmap()) {
		return netip.AddrPort{}, errNoAddress
	}
	return netip.AddrPortFrom(a.Unmap(), port), nil
}

// codeOf returns the code of an error that a gateway has answered with; 0 for others.
func codeOf(err error) int {
	if fault := new(soap.SOAPFaultError); errors.As(err, &fault) {
		return fault.Detail.UPnPError.Errorcode
	}
	return 0
}

// upnpError returns an error without what a gateway has written in it.
func upnpError(err error) error {
	code := codeOf(err)
	switch {
	case code == codeNoEntry:
		return portmap.ErrForgotten
	case upnpCodes[code] != "":
		return fmt.Errorf("refused: %s", upnpCodes[code])
	case code != 0:
		return fmt.Errorf("refused with code %d", code)
	case errors.Is(err, portmap.ErrForgotten), errors.Is(err, errNoAddress):
		return err
	default:
		return fmt.Errorf("%w: its service failed", portmap.ErrNoAnswer)
	}
}
