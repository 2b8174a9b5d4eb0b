package tunnels

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"net/url"

	"github.com/spanmesh/span/reconciler/mesh"
)

const (
	// maxTunnels is how many tunnels a process has at most: a machine joins mesh.MaxRegistered relays.
	maxTunnels = 16
	// maxURL and maxCA bound the texts of a tunnel, in bytes: the bundle of a distribution has 200 KiB.
	maxURL, maxCA = 2 << 10, 512 << 10
)

// Tunnel is a way to a relay over TCP.
type Tunnel struct {
	// Relay is the relay's key.
	Relay mesh.Key `json:"relay"`
	// URL is that of the relay's streams.
	URL string `json:"url"`
	// CA has authorities in PEM that are trusted besides those of the system. It is the same for all
	// tunnels: a request has it once.
	CA string `json:"-"`
	// Proxy is the URL of an HTTP proxy; empty for none.
	Proxy string `json:"proxy,omitempty"`
	// Port is that of WireGuard.
	Port uint16 `json:"port"`
	// Mark is the firewall mark of the streams.
	Mark uint32 `json:"mark"`
}

// check returns an error for a tunnel that no agent asks for.
func (t *Tunnel) check() error {
	if t.Relay.IsZero() || t.Port == 0 {
		return errors.New("a tunnel without a relay or a port")
	}
	if len(t.URL) > maxURL || len(t.Proxy) > maxURL || len(t.CA) > maxCA {
		return fmt.Errorf("a URL of more than %d bytes, or authorities of more than %d", maxURL, maxCA)
	}
	if target, err := url.Parse(t.URL); err != nil || target.Host == "" || target.Scheme != "http" && target.Scheme != "https" {
		return errors.New("a tunnel without a URL of HTTP")
	}
	if _, err := url.Parse(t.Proxy); err != nil {
		return errors.New("a proxy without a valid URL") // the error would show its password
	}
	return nil
}

// request is what the agent sends. Without Keep it only asks.
type request struct {
	// Keep are the tunnels that there are to be.
	Keep *[]wanted `json:"keep,omitempty"`
	// CA is that of each.
	CA string `json:"ca,omitempty"`
}

// wanted is a tunnel with the port on loopback that it had in an earlier process; 0 for none.
type wanted struct {
	Tunnel
	Local uint16 `json:"local,omitempty"`
}

// Status is what a process says of a tunnel.
type Status struct {
	Relay mesh.Key `json:"relay"`
	// Endpoint is where WireGuard reaches the relay; the zero value where the tunnel was refused.
	Endpoint netip.AddrPort `json:"endpoint"`
	// Failure is why the relay is not reached; empty if it is, or WireGuard sends nothing.
	Failure string `json:"failure,omitempty"`
}

// answer is what a process answers.
type answer struct {
	// Version is that of the program.
	Version string   `json:"version"`
	Tunnels []Status `json:"tunnels"`
	// Idle is set while WireGuard uses no tunnel.
	Idle bool `json:"idle"`
	// Error is why the request was refused, or not carried out in whole.
	Error string `json:"error,omitempty"`
}

// parseRequest reads a request.
func parseRequest(text []byte) (r request, err error) {
	if err := json.Unmarshal(text, &r); err != nil {
		return request{}, fmt.Errorf("the request cannot be read: %w", err)
	}
	if r.Keep == nil {
		return r, nil
	}
	if len(*r.Keep) > maxTunnels {
		return request{}, fmt.Errorf("more than %d tunnels", maxTunnels)
	}
	for i := range *r.Keep {
		(*r.Keep)[i].CA = r.CA
	}
	return r, nil
}

// usable returns the tunnels that can be opened, and why others cannot.
func usable(all []wanted) (good []wanted, refused []Status) {
	for _, w := range all {
		if err := w.check(); err != nil {
			refused = append(refused, Status{Relay: w.Relay, Failure: err.Error()})
			continue
		}
		good = append(good, w)
	}
	return good, refused
}
