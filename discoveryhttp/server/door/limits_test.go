package door_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/spanmesh/span/discoveryhttp/server/door"
)

func trustLoopback(l *door.Limits) {
	l.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
}

// ended fails the test unless the other end has closed a connection.
func ended(t *testing.T, c net.Conn) {
	t.Helper()
	if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the connection is open")
	}
}

// refused fails the test unless the door closes a new connection.
func (e entrance) refused(t *testing.T) {
	t.Helper()
	// Where the network is fast, the connection is reset before it is known to be there.
	if c, err := new(net.Dialer).DialContext(t.Context(), "tcp", e.address); err == nil {
		defer func() { _ = c.Close() }()
		must(t, c.SetDeadline(time.Now().Add(patience)))
		ended(t, c)
	}
}

// begin connects and sends the begin of a request by HTTP/1.1.
func (e entrance) begin(t *testing.T) net.Conn {
	t.Helper()
	c := e.dial(t)
	if _, err := io.WriteString(c, "G"); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestConnectionsAreBounded(t *testing.T) {
	for name, limit := range map[string]func(*door.Limits){
		"per caller":             func(l *door.Limits) { l.PerCaller = 3 },
		"in all":                 func(l *door.Limits) { l.Connections = 3 },
		"in all, with a proxy":   func(l *door.Limits) { l.Connections = 3; trustLoopback(l) },
		"in all, not per caller": func(l *door.Limits) { l.Connections, l.PerCaller = 3, 1; trustLoopback(l) },
	} {
		t.Run(name, func(t *testing.T) {
			e := open(t, nil, limit)
			arrivals := e.accept(t)
			var served []net.Conn
			for range 3 {
				e.begin(t)
				served = append(served, next(t, arrivals))
			}
			e.refused(t)
			if err := served[0].Close(); err != nil {
				t.Fatal(err)
			}
			// Closing twice counts once.
			_ = served[0].Close()
			e.begin(t)
			next(t, arrivals)
			e.refused(t)
		})
	}
}

// TestWhoHasFewConnectionsIsLetIn fills the door from one address, and knocks from others.
func TestWhoHasFewConnectionsIsLetIn(t *testing.T) {
	e := open(t, nil, func(l *door.Limits) { l.Connections = 6 })
	arrivals := e.accept(t)
	many := make([]net.Conn, 6)
	for i := range many {
		many[i] = e.begin(t)
		next(t, arrivals)
	}
	e.refused(t)
	few := make([]net.Conn, 3)
	for i := range few {
		few[i] = e.dialFrom(t, netip.AddrFrom4([4]byte{127, 0, 0, byte(2 + i)}))
		_, err := io.WriteString(few[i], "G")
		must(t, err)
		next(t, arrivals)
	}
	if s := e.Stats(); s.Open != 6 || s.Replaced != 3 || s.Refused != 1 {
		t.Errorf("the door has %+v, want 6 open, 3 of them in the place of others, and 1 refused", s)
	}
	closed := 0
	for _, c := range many {
		must(t, c.SetReadDeadline(time.Now().Add(100*time.Millisecond)))
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			closed++
		}
	}
	if closed != 3 {
		t.Errorf("%d connections of the caller with the most were closed, want 3", closed)
	}
}

// dialFrom connects from an address.
func (e entrance) dialFrom(t *testing.T, from netip.Addr) net.Conn {
	t.Helper()
	conn, err := (&net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))}).DialContext(t.Context(), "tcp", e.address)
	must(t, err)
	must(t, conn.SetDeadline(time.Now().Add(patience)))
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func TestSlowConnectionsEnd(t *testing.T) {
	serverTLS, _ := certificate(t)
	soon := func(l *door.Limits) { l.HeaderTimeout = 50 * time.Millisecond }
	plain, secure := open(t, nil, soon), open(t, serverTLS, soon)
	for name, text := range map[string]string{
		"nothing":             "",
		"half of the preface": http2.ClientPreface[:10],
		"no request":          http2.ClientPreface + "\x00\x00\x00\x04\x00\x00\x00\x00\x00",
		"half of a frame":     http2.ClientPreface + "\x00\x00\x09\x01\x00\x00\x00\x00\x01x",
		"no end of headers":   http2.ClientPreface + "\x00\x00\x01\x01\x00\x00\x00\x00\x01\x82",
	} {
		t.Run(name, func(t *testing.T) {
			c := plain.dial(t)
			if _, err := io.WriteString(c, text); err != nil {
				t.Fatal(err)
			}
			ended(t, c)
		})
	}
	for name, text := range map[string]string{"no hello of TLS": "", "half of a hello of TLS": "\x16\x03\x01\x02\x00\x01"} {
		t.Run(name, func(t *testing.T) {
			c := secure.dial(t)
			if _, err := io.WriteString(c, text); err != nil {
				t.Fatal(err)
			}
			ended(t, c)
		})
	}
}

// TestIdleClientIsSentAway checks that a client of HTTP/2 without a request can know that it
// may repeat requests that cross with the end of the connection.
func TestIdleClientIsSentAway(t *testing.T) {
	e := open(t, nil, func(l *door.Limits) { l.HeaderTimeout = 50 * time.Millisecond })
	c := e.dialHTTP2(t)
	if f := await[*http2.GoAwayFrame](t, c); f.ErrCode != http2.ErrCodeNo || f.LastStreamID != 0 {
		t.Errorf("the client got %v", f)
	}
	ended(t, c.Conn)
}

func TestWhatIsReadBeforeARequestIsBounded(t *testing.T) {
	e := open(t, nil, nil)
	for name, flood := range map[string]struct {
		write func(c client) error
		code  http2.ErrCode
	}{
		"SETTINGS":      {func(c client) error { return c.WriteSettings() }, http2.ErrCodeEnhanceYourCalm},
		"PING":          {func(c client) error { return c.WritePing(false, [8]byte{}) }, http2.ErrCodeEnhanceYourCalm},
		"PRIORITY":      {func(c client) error { return c.WritePriority(1, http2.PriorityParam{StreamDep: 3}) }, http2.ErrCodeEnhanceYourCalm},
		"unknown":       {func(c client) error { return c.WriteRawFrame(0xbe, 0, 0, make([]byte, 1000)) }, http2.ErrCodeEnhanceYourCalm},
		"a large frame": {func(c client) error { return c.WriteRawFrame(0xbe, 0, 0, make([]byte, 100_000)) }, http2.ErrCodeFrameSize},
		"DATA on the connection": {func(c client) error {
			return c.WriteRawFrame(http2.FrameData, 0, 0, []byte("x"))
		}, http2.ErrCodeProtocol},
		"compressed nonsense": {func(c client) error {
			return c.WriteRawFrame(http2.FrameHeaders, http2.FlagHeadersEndHeaders, 1, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
		}, http2.ErrCodeCompression},
	} {
		t.Run(name, func(t *testing.T) {
			c := e.dialHTTP2(t)
			ends := make(chan error, 1)
			go func() {
				for {
					if err := flood.write(c); err != nil {
						ends <- err
						return
					}
				}
			}()
			code := http2.ErrCode(0xffff)
			for {
				frame, err := c.ReadFrame()
				if err != nil {
					break
				}
				if f, ok := frame.(*http2.GoAwayFrame); ok {
					code = f.ErrCode
				}
			}
			if err := <-ends; errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error("the connection is open")
			}
			// What the client still sends may reset the connection before it has read why.
			if code != flood.code && code != 0xffff {
				t.Errorf("the client was sent away with %v, want %v", code, flood.code)
			}
		})
	}
}

// TestContinuationsAreBounded sends headers without end.
func TestContinuationsAreBounded(t *testing.T) {
	e := open(t, nil, nil)
	c := e.dialHTTP2(t)
	must(t, c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: request(t, "application/grpc")}))
	block := headers(t, "x-more", strings.Repeat("x", 1000))
	for c.WriteContinuation(1, false, block) == nil {
	}
	ended(t, c.Conn)
}

// TestSilentConnectionsGiveWay fills all places with connections that say nothing: others
// get in long before those must end.
func TestSilentConnectionsGiveWay(t *testing.T) {
	for name, limit := range map[string]func(*door.Limits){
		"in all":     func(l *door.Limits) { l.Pending = 2 },
		"per caller": func(l *door.Limits) { l.PendingPerCaller = 2 },
	} {
		t.Run(name, func(t *testing.T) {
			e := open(t, nil, func(l *door.Limits) {
				limit(l)
				l.HeaderTimeout = time.Hour
			})
			arrivals := e.accept(t)
			for range 2 {
				e.dial(t)
				e.dial(t)
				e.begin(t)
				next(t, arrivals)
			}
		})
	}
}

func TestClientThatDoesNotReadIsReset(t *testing.T) {
	serverTLS, clientTLS := certificate(t)
	for name, secure := range map[string]bool{"plain text": false, "TLS": true} {
		t.Run(name, func(t *testing.T) {
			config := serverTLS
			if !secure {
				config = nil
			}
			e := open(t, config, func(l *door.Limits) { l.WriteTimeout = 100 * time.Millisecond })
			raw := e.dial(t)
			c := raw
			if secure {
				c = tlsClient(t, raw, clientTLS)
			}
			if _, err := io.WriteString(c, "G"); err != nil {
				t.Fatal(err)
			}
			conn := next(t, e.accept(t))
			// net/http clears the deadline of each connection that it gets.
			must(t, conn.SetDeadline(time.Time{}))
			var err error
			for chunk := make([]byte, 1<<20); err == nil; {
				_, err = conn.Write(chunk)
			}
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("the write ended with %v, want the deadline", err)
			}
			if _, err := io.Copy(io.Discard, raw); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the client got %v, want a reset connection", err)
			}
		})
	}
}

// TestSlowReaderIsServed writes more than the deadline of one write would allow.
func TestSlowReaderIsServed(t *testing.T) {
	const size = 16 << 20
	e := open(t, nil, func(l *door.Limits) { l.WriteTimeout = time.Second })
	c := e.begin(t)
	conn := next(t, e.accept(t))
	written := make(chan error, 1)
	go func() {
		_, err := conn.Write(make([]byte, size))
		written <- err
	}()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for read := 0; read < size; {
		<-ticker.C
		n, err := io.ReadFull(c, make([]byte, 128<<10))
		must(t, err)
		read += n
	}
	must(t, <-written)
}

func TestDeadlineOfTheOwnerHolds(t *testing.T) {
	e := open(t, nil, nil)
	e.begin(t)
	conn := next(t, e.accept(t))
	must(t, conn.SetWriteDeadline(time.Now().Add(-time.Second)))
	if _, err := conn.Write([]byte("x")); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a write after the deadline returned %v", err)
	}
}

func TestStopEndsPendingConnectionsAndKeepsOthers(t *testing.T) {
	e := open(t, nil, nil)
	c := e.begin(t)
	conn := next(t, e.accept(t))
	silent := e.dial(t)
	e.stop()
	ended(t, silent)
	_, err := conn.Write([]byte("x"))
	must(t, err)
	_, err = io.ReadFull(c, make([]byte, 1))
	must(t, err)
}

func tlsClient(t *testing.T, raw net.Conn, config *tls.Config) net.Conn {
	t.Helper()
	config = config.Clone()
	config.ServerName = "127.0.0.1"
	c := tls.Client(raw, config)
	must(t, c.HandshakeContext(t.Context()))
	return c
}

func TestZeroLimitsAreTheDefaults(t *testing.T) {
	e := open(t, nil, func(l *door.Limits) { *l = door.Limits{} })
	e.begin(t)
	if next(t, e.accept(t)).toGRPC {
		t.Error("a request by HTTP/1.1 went to gRPC")
	}
}
