package nameserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/time/rate"

	"github.com/spanmesh/span/cmd/spanctl/internal/room"
)

const (
	// Port is the port of DNS.
	Port = 53
	// localRate and meshRate are how many queries by UDP are answered a second, of this machine's programs and
	// of all others. The rest is dropped, and asked again.
	localRate, meshRate = 20_000, 2_000
	// burst is how many of a second's are answered at once.
	burst = 4
	// maxStreams is how many connections are open at a time, and maxClientStreams how many of them one client
	// has. For another one, an old one is closed.
	maxStreams, maxClientStreams = 32, 8
	// maxStreamQueries is how many queries a connection may bring.
	maxStreamQueries = 128
	// timeout bounds a query or an answer by TCP, and the pause between two.
	timeout = 2 * time.Second
)

// Server answers at one address.
type Server struct {
	zone *atomic.Pointer[Zone]
	both [2]*dns.Server
	log  *slog.Logger
}

// Listen answers what zone has at that time, at an address that the machine has: one on loopback, or one on
// the link of the mesh. A server that has ended by itself is sent to fallen, if that has room.
func Listen(ctx context.Context, at netip.Addr, link string, zone *atomic.Pointer[Zone], fallen chan<- *Server, log *slog.Logger) (*Server, error) {
	address := netip.AddrPortFrom(at, Port).String()
	var config net.ListenConfig
	conn, err := config.ListenPacket(ctx, "udp", address)
	if err != nil {
		return nil, err
	}
	listener, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	datagrams, err := newDatagrams(conn, link, zone)
	if err != nil {
		return nil, errors.Join(err, conn.Close(), listener.Close())
	}
	s := &Server{zone: zone, log: log}
	s.both = [2]*dns.Server{{PacketConn: datagrams, Handler: s, MsgAcceptFunc: accept},
		{Listener: &room.Room{Listener: streams{listener, zone}, Limit: maxStreams, Share: maxClientStreams},
			Handler: s, MsgAcceptFunc: accept, MaxTCPQueries: maxStreamQueries,
			ReadTimeout: timeout, WriteTimeout: timeout, IdleTimeout: func() time.Duration { return timeout }}}
	for _, server := range s.both {
		s.serve(server, fallen)
	}
	return s, nil
}

// serve starts a server.
func (s *Server) serve(server *dns.Server, fallen chan<- *Server) {
	started := make(chan struct{})
	server.NotifyStartedFunc = func() { close(started) }
	go func() {
		err := server.ActivateAndServe() // it has a socket, and so it starts
		if err == nil {
			return // it was closed
		}
		s.log.Error("name server ended", "error", err)
		select {
		case fallen <- s:
		default:
		}
	}()
	<-started
}

// Close stops the server.
func (s *Server) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	for _, server := range s.both {
		if err := server.ShutdownContext(ctx); err != nil {
			s.log.Debug("name server not stopped", "error", err)
		}
	}
}

// ServeDNS implements dns.Handler.
func (s *Server) ServeDNS(w dns.ResponseWriter, query *dns.Msg) {
	answer := s.zone.Load().Answer(query)
	if err := w.WriteMsg(answer); err != nil {
		s.log.Debug("DNS query not answered", "client", w.RemoteAddr().String(), "error", err)
	}
}

// accept refuses messages other than queries before they are decoded.
func accept(h dns.Header) dns.MsgAcceptAction {
	const notify = dns.OpcodeNotify << 11
	if h.Bits&(0xf<<11) == notify {
		return dns.MsgRejectNotImplemented
	}
	return dns.DefaultMsgAcceptFunc(h)
}

// datagrams are those of the machines that may ask, as many as may be answered.
type datagrams struct {
	net.PacketConn
	// read returns a datagram, its sender and the index of the link that it came by.
	read func(b []byte) (n int, from net.Addr, link int, err error)
	// links are those that machines which may ask are behind. own is the address that is listened at.
	links [2]int
	own   netip.Addr
	zone  *atomic.Pointer[Zone]

	local, mesh *rate.Limiter
}

func newDatagrams(conn net.PacketConn, link string, zone *atomic.Pointer[Zone]) (*datagrams, error) {
	d := &datagrams{PacketConn: conn, zone: zone, local: rate.NewLimiter(localRate, localRate/burst), mesh: rate.NewLimiter(meshRate, meshRate/burst)}
	for i, name := range []string{"lo", link} {
		found, err := net.InterfaceByName(name)
		if err != nil {
			return nil, fmt.Errorf("link %s: %w", name, err)
		}
		d.links[i] = found.Index
	}
	if at, is := conn.LocalAddr().(*net.UDPAddr); is {
		d.own = at.AddrPort().Addr()
	}
	if d.own.Is4() {
		p := ipv4.NewPacketConn(conn)
		d.read = func(b []byte) (n int, from net.Addr, link int, err error) {
			n, control, from, err := p.ReadFrom(b)
			if control != nil {
				link = control.IfIndex
			}
			return n, from, link, err
		}
		return d, p.SetControlMessage(ipv4.FlagInterface, true)
	}
	p := ipv6.NewPacketConn(conn)
	d.read = func(b []byte) (n int, from net.Addr, link int, err error) {
		n, control, from, err := p.ReadFrom(b)
		if control != nil {
			link = control.IfIndex
		}
		return n, from, link, err
	}
	return d, p.SetControlMessage(ipv6.FlagInterface, true)
}

// ReadFrom implements net.PacketConn.
func (d *datagrams) ReadFrom(b []byte) (n int, from net.Addr, err error) {
	for {
		n, from, link, err := d.read(b)
		if err != nil || d.takes(from, link) {
			return n, from, err
		}
	}
}

// takes reports whether a datagram is answered. One that came by another link has a forged sender.
func (d *datagrams) takes(from net.Addr, link int) bool {
	address, is := from.(*net.UDPAddr)
	if !is || !slices.Contains(d.links[:], link) {
		return false
	}
	sender := address.AddrPort().Addr().Unmap()
	if !d.zone.Load().hears(sender) {
		return false
	}
	if sender == d.own || sender.IsLoopback() {
		return d.local.Allow()
	}
	return d.mesh.Allow()
}

// streams are the connections of the machines that may ask. Their senders have shown their addresses.
type streams struct {
	net.Listener
	zone *atomic.Pointer[Zone]
}

// Accept implements net.Listener.
func (s streams) Accept() (net.Conn, error) {
	for {
		conn, err := s.Listener.Accept()
		if err != nil {
			return nil, err
		}
		client, is := conn.RemoteAddr().(*net.TCPAddr)
		if is && s.zone.Load().hears(client.AddrPort().Addr().Unmap()) {
			return conn, nil
		}
		_ = conn.Close() // nothing was sent
	}
}
