package server

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"time"

	"connectrpc.com/connect"

	"github.com/spanmesh/span/discoveryhttp/reflectpb"
	"github.com/spanmesh/span/discoveryhttp/reflectpb/reflectpbconnect"
	"github.com/spanmesh/span/reconciler/reflection"
)

// maxReflect bounds a request, in bytes.
const maxReflect = 256

// reflected is how many datagrams the server sends for a call.
const reflected = 3

var (
	// perReflected is the rate of one address, or of one IPv6 /64.
	perReflected = Rate{PerSecond: 0.1, Burst: 1}
	// allReflected is the rate of all addresses together.
	allReflected = Rate{PerSecond: 20, Burst: 100}
)

// reflector sends datagrams to the addresses of callers.
//
// It cannot be used against others: TCP has shown that the caller is at the address, and what it
// sent for that was more than what is sent to it.
type reflector struct {
	server     *Server
	perAddress *limiter[netip.Addr]
	all        *limiter[struct{}]
	// send sends datagrams to an address and returns how many were sent.
	send func(ctx context.Context, to netip.AddrPort, datagrams [][]byte) (int, error)
}

var _ reflectpbconnect.ReflectServiceHandler = (*reflector)(nil)

func newReflector(s *Server) *reflector {
	return &reflector{server: s, perAddress: newLimiter[netip.Addr](perReflected), all: newLimiter[struct{}](allReflected), send: sendDatagrams}
}

// Reflect implements the service.
func (r *reflector) Reflect(ctx context.Context, req *connect.Request[reflectpb.ReflectRequest]) (*connect.Response[reflectpb.ReflectResponse], error) {
	caller, err := r.server.callers.provenBy(req.Peer().Addr, req.Header())
	if err != nil {
		return nil, connect.NewError(connect.CodeFailedPrecondition, err)
	}
	port := req.Msg.GetPort()
	if port < 1 || port > 65535 {
		return nil, invalid("port is %d: want 1 to 65535", port)
	}
	if err := r.admit(ctx, caller, time.Now()); err != nil {
		return nil, err
	}
	var nonce reflection.Nonce
	_, _ = rand.Read(nonce[:]) // it never returns an error
	datagrams := make([][]byte, reflected)
	for i := range datagrams {
		datagrams[i] = reflection.Datagram(nonce, uint32(i+1))
	}
	sent, err := r.send(ctx, netip.AddrPortFrom(caller, uint16(port)), datagrams)
	if err != nil {
		// A firewall of this machine may let none out.
		r.server.log.Debug("sending datagrams to a caller failed", "error", err)
	}
	response := &reflectpb.ReflectResponse{Sent: uint32(sent), Nonce: nonce[:]}
	if !r.server.options.HideClientAddress {
		response.Address = caller.AsSlice()
	}
	return connect.NewResponse(response), nil
}

// admit counts a call at the rates of all calls and of this one, which does not wait.
func (r *reflector) admit(ctx context.Context, caller netip.Addr, now time.Time) error {
	turn, err := r.server.admission.reserve(ctx, caller, now)
	if err != nil {
		return err
	}
	if err := r.server.admission.await(ctx, turn); err != nil {
		return err
	}
	key := rateKey(caller)
	if wait, ok := r.perAddress.reserve(key, now, 0); !ok {
		return rateError("this address", wait)
	}
	if wait, ok := r.all.reserve(struct{}{}, now, 0); !ok {
		r.perAddress.cancel(key)
		return rateError("all addresses", wait)
	}
	return nil
}

// sendDatagrams sends from a port of its own, so that no firewall knows the sender.
func sendDatagrams(ctx context.Context, to netip.AddrPort, datagrams [][]byte) (sent int, err error) {
	network := "udp6"
	if to.Addr().Is4() {
		network = "udp4"
	}
	// Not connected: a closed port that answers the first datagram would fail the second.
	conn, err := new(net.ListenConfig).ListenPacket(ctx, network, ":0")
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close() }()
	for _, d := range datagrams {
		if _, err := conn.WriteTo(d, net.UDPAddrFromAddrPort(to)); err != nil {
			return sent, err
		}
		sent++
	}
	return sent, nil
}

// provenBy returns the address of a caller that a TCP connection has proven: here, or at a
// trusted proxy. A header of a proxy that is not trusted says that there is one, and the
// connection is then not the caller's.
func (c callers) provenBy(peer string, header http.Header) (netip.Addr, error) {
	caller := c.of(peer, header)
	switch {
	case c.trusts(caller):
		return caller, errors.New("the proxy in front of this server does not tell the address of the caller: it has to set X-Forwarded-For or X-Real-IP")
	case isForwarded(header) && !c.trusts(addressIn(peer)):
		return caller, errors.New("this server is behind a proxy that it does not trust: --trusted-proxies")
	case !caller.IsGlobalUnicast() && !caller.IsLoopback():
		return caller, errors.New("the address of the caller is not known")
	}
	return caller, nil
}
