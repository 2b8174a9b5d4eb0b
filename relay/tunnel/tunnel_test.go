package tunnel_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/spanmesh/span/relay/stream"
	"github.com/spanmesh/span/relay/tunnel"
)

// echo is a relay that sends each packet back.
type echo struct {
	*httptest.Server
	mu    sync.Mutex
	conns []*stream.Conn
}

func newEcho(t *testing.T) *echo {
	e := &echo{}
	e.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := stream.Accept(w, r)
		if err != nil {
			return
		}
		e.mu.Lock()
		e.conns = append(e.conns, conn)
		e.mu.Unlock()
		packet := make([]byte, stream.MaxPacket)
		for {
			n, err := conn.Receive(packet)
			if err != nil {
				return
			}
			_ = conn.Send(packet[:n])
		}
	}))
	t.Cleanup(e.Close)
	return e
}

// streams closes all streams, and returns how many there were.
func (e *echo) streams() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, c := range e.conns {
		_ = c.Close()
	}
	return len(e.conns)
}

func socket(t *testing.T) *net.UDPConn {
	t.Helper()
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func TestTunnel(t *testing.T) {
	relay, wireguard, stranger := newEcho(t), socket(t), socket(t)
	roots := x509.NewCertPool()
	roots.AddCert(relay.Certificate())
	tun, err := tunnel.Open(tunnel.Options{Target: relay.URL + stream.Path, Dialer: stream.Dialer{TLS: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}},
		Port: wireguard.LocalAddr().(*net.UDPAddr).AddrPort().Port(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		tun.Run(ctx)
	}()
	at := net.UDPAddrFromAddrPort(tun.Endpoint())
	// echoed sends a text until it comes back: as with UDP, packets may be lost.
	echoed := func(text string) {
		t.Helper()
		answer := make([]byte, 100)
		for deadline := time.Now().Add(30 * time.Second); ; {
			_, _ = wireguard.WriteToUDP([]byte(text), at)
			_ = wireguard.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
			if n, from, err := wireguard.ReadFromUDPAddrPort(answer); err == nil && string(answer[:n]) == text && from == tun.Endpoint() {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%q does not come back", text)
			}
		}
	}
	_, _ = stranger.WriteToUDP([]byte("not from WireGuard"), at)
	echoed("one")
	if n := relay.streams(); n != 1 {
		t.Errorf("%d streams were opened", n)
	}
	echoed("two")
	if n := relay.streams(); n != 2 {
		t.Errorf("after the first has ended, %d streams were opened in all", n)
	}
	cancel()
	<-done
	if _, err := net.ListenUDP("udp4", at); err != nil {
		t.Errorf("the socket is still open: %v", err)
	}
}

// TestStreamsThatEndAtOnce has a relay that accepts each stream and closes it.
func TestStreamsThatEndAtOnce(t *testing.T) {
	opened := make(chan time.Time, 1000)
	relay := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if conn, err := stream.Accept(w, r); err == nil {
			_ = conn.Close()
			opened <- time.Now()
		}
	}))
	defer relay.Close()
	wireguard := socket(t)
	tun, err := tunnel.Open(tunnel.Options{Target: relay.URL + stream.Path, Port: wireguard.LocalAddr().(*net.UDPAddr).AddrPort().Port(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		tun.Run(ctx)
	}()
	var times []time.Time
	send := time.NewTicker(10 * time.Millisecond)
	defer send.Stop()
	for len(times) < 2 {
		select {
		case <-send.C:
			_, _ = wireguard.WriteToUDPAddrPort([]byte("packet"), tun.Endpoint())
		case at := <-opened:
			times = append(times, at)
		}
	}
	if pause := times[1].Sub(times[0]); pause < 900*time.Millisecond {
		t.Errorf("the next stream was opened after %v", pause)
	}
	if tun.Failure() == nil {
		t.Error("no failure is shown")
	}
	cancel()
	<-done
}
