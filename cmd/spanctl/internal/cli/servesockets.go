package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"

	"github.com/coreos/go-systemd/v22/activation"

	"github.com/spanmesh/span/discoveryhttp/server"
	"github.com/spanmesh/span/discoveryhttp/stun"
	"github.com/spanmesh/span/relay/udp"
)

// serveSockets are the sockets of a server.
type serveSockets struct {
	listeners []net.Listener
	stun      []*net.UDPConn
	relay     []*udp.Conn
}

func (s *serveSockets) close() error {
	return errors.Join(closeAll(s.listeners), closeAll(s.stun), closeAll(s.relay))
}

func closeAll[C io.Closer](all []C) error {
	var err error
	for _, c := range all {
		err = errors.Join(err, c.Close())
	}
	return err
}

// open listens, or takes the sockets that systemd passes. Addresses other than
// loopback need TLS or --insecure.
func (f *serveOptions) open(ctx context.Context, secure bool, log *slog.Logger) (*serveSockets, error) {
	listeners, passed, err := passedSockets()
	if err != nil {
		return nil, fmt.Errorf("take sockets from systemd: %w", err)
	}
	s := &serveSockets{listeners: listeners}
	if s.relay, err = f.relay.listenRelay(ctx, passed); err != nil {
		return nil, errors.Join(err, s.close())
	}
	if len(s.listeners) == 0 {
		listener, err := new(net.ListenConfig).Listen(ctx, "tcp", f.listen)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("listen on %s: %w%s", f.listen, err, listenHint(f.listen)), s.close())
		}
		s.listeners = append(s.listeners, listener)
	}
	for _, l := range s.listeners {
		if address, ok := l.Addr().(*net.TCPAddr); !secure && !f.insecure && (!ok || !address.IP.IsLoopback()) {
			return nil, errors.Join(fmt.Errorf("%s can be reached from other machines: give --tls-cert and --tls-key, or --insecure", l.Addr()), s.close())
		}
	}
	if s.stun, err = f.openSTUN(ctx, s.listeners, s.relay, log); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// passedSockets returns the sockets that systemd passes.
func passedSockets() (listeners []net.Listener, packets []*net.UDPConn, err error) {
	for _, file := range activation.Files(true) {
		listener, failure := net.FileListener(file)
		if failure == nil {
			listeners = append(listeners, listener)
		} else {
			conn, other := net.FilePacketConn(file)
			if packet, is := conn.(*net.UDPConn); is {
				packets = append(packets, packet)
			} else {
				err = errors.Join(err, fmt.Errorf("%s is no socket of TCP or UDP", file.Name()), failure, other)
			}
		}
		_ = file.Close() // the sockets are copies
	}
	if err != nil {
		err = errors.Join(err, closeAll(listeners), closeAll(packets))
	}
	return listeners, packets, err
}

// answer has a server tell machines their outside addresses, and relay their packets, at its sockets.
func (f *serveOptions) answer(o *server.Options, s *serveSockets, log *slog.Logger) error {
	o.STUN = s.stun
	if f.stunListen != stunOff && len(s.stun)+len(s.relay) > 0 {
		o.Outside = stun.NewServer(log)
	}
	if len(s.relay) == 0 {
		return nil
	}
	relay, err := f.openRelay(s.relay, o.Outside, log)
	if err != nil {
		return err
	}
	at := s.relay[0].LocalAddr()
	o.Relay, o.RelayAddress = relay, f.relay.told(at)
	log.Info("serving a relay", "address", at.String(), "announced", o.RelayAddress)
	return nil
}
