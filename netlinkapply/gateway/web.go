package gateway

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"

	"github.com/huin/goupnp"

	"github.com/spanmesh/span/reconciler/portmap"
)

const (
	// maxBody is how much of an answer of HTTP is read, in bytes.
	maxBody = 256 << 10
	// maxHeaders is the same of its headers.
	maxHeaders = 16 << 10
)

// errElsewhere is the error of a URL that is not at the gateway.
var errElsewhere = errors.New("a URL of the gateway is not at its own address")

// bounded reads URLs at one address, and little of each.
type bounded struct {
	gateway netip.Addr
	next    http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (b *bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	if !isAt(b.gateway, r.URL) {
		return nil, errElsewhere
	}
	response, err := b.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	response.Body = &body{io.LimitReader(response.Body, maxBody), response.Body}
	return response, nil
}

type body struct {
	io.Reader
	io.Closer
}

// http returns a client for the gateway of a call. It follows no redirects and uses no proxy.
func (c *Client) http(call *portmap.Call) *http.Client {
	dialer := net.Dialer{Control: c.control, LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(call.Own, 0))}
	return &http.Client{
		Transport: &bounded{call.Gateway, &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true, DisableCompression: true,
			MaxResponseHeaderBytes: maxHeaders}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       callTimeout,
	}
}

// fetch reads the description of a gateway.
func fetch(ctx context.Context, client *http.Client, location *url.URL) (*goupnp.RootDevice, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, location.String(), http.NoBody)
	if err != nil {
		return nil, err
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, portmap.ErrNoAnswer
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("it answers with status %d", response.StatusCode)
	}
	return parseDescription(response.Body, location)
}

// parseDescription reads a description that was found at a URL.
func parseDescription(r io.Reader, location *url.URL) (*goupnp.RootDevice, error) {
	root := new(goupnp.RootDevice)
	decoder := xml.NewDecoder(r)
	decoder.DefaultSpace = goupnp.DeviceXMLNamespace
	if err := decoder.Decode(root); err != nil {
		return nil, errors.New("the answer is not a UPnP device description")
	}
	base := location
	if root.URLBaseStr != "" {
		var err error
		if base, err = url.Parse(root.URLBaseStr); err != nil {
			return nil, errors.New("the UPnP description has an invalid URL")
		}
	}
	root.SetURLBase(base)
	return root, nil
}
