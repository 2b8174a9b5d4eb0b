package door_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/spanmesh/span/discoveryhttp/server/door"
)

// patience bounds how long a test waits for what should happen at once.
const patience = 20 * time.Second

// entrance is a door whose connections the test accepts itself.
type entrance struct {
	*door.Door
	address string
	stop    func()
}

// open opens a door on loopback until the test ends, with the default limits as changed by
// change.
func open(t *testing.T, tlsConfig *tls.Config, change func(*door.Limits)) entrance {
	t.Helper()
	limits := door.DefaultLimits()
	if change != nil {
		change(&limits)
	}
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := door.New(limits, tlsConfig, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- d.Serve(ctx, listener) }()
	e := entrance{Door: d, address: listener.Addr().String()}
	var served error
	stopped := false
	e.stop = func() {
		if cancel(); !stopped {
			stopped, served = true, <-done
		}
		if served != nil {
			t.Errorf("the door returned %v", served)
		}
	}
	t.Cleanup(func() {
		_ = d.HTTP().Close()
		_ = d.GRPC().Close()
		e.stop()
	})
	return e
}

// serve runs net/http and grpc-go behind the door until the test ends. net/http answers every
// request with the name of its protocol, and grpc-go serves health checks.
func (e entrance) serve(t *testing.T) {
	t.Helper()
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	httpServer := &http.Server{
		Protocols: protocols,
		Handler:   http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Proto) }),
		ErrorLog:  slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug),
	}
	grpcServer := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(grpcServer, health.NewServer())
	done := make(chan error, 2)
	go func() { done <- httpServer.Serve(e.HTTP()) }()
	go func() { done <- grpcServer.Serve(e.GRPC()) }()
	t.Cleanup(func() {
		_ = httpServer.Close()
		grpcServer.Stop()
		for range 2 {
			if err := <-done; err != nil && !errors.Is(err, http.ErrServerClosed) {
				t.Errorf("a server behind the door returned %v", err)
			}
		}
	})
}

// certificate returns the TLS configurations of a server and of its clients.
func certificate(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}},
		&tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}
}

// dial connects to the door. The connection ends with the test, and each test ends.
func (e entrance) dial(t *testing.T) net.Conn {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", e.address)
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// arrival is a connection that was routed.
type arrival struct {
	net.Conn
	toGRPC bool
}

// accept takes the connections from both listeners until they are closed.
func (e entrance) accept(t *testing.T) <-chan arrival {
	t.Helper()
	arrivals := make(chan arrival)
	for l, toGRPC := range map[net.Listener]bool{e.GRPC(): true, e.HTTP(): false} {
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				select {
				case arrivals <- arrival{c, toGRPC}:
				case <-t.Context().Done():
					_ = c.Close()
				}
			}
		}()
	}
	return arrivals
}

// next returns the next connection that was routed.
func next(t *testing.T, arrivals <-chan arrival) arrival {
	t.Helper()
	select {
	case a := <-arrivals:
		t.Cleanup(func() { _ = a.Close() })
		return a
	case <-time.After(patience):
		t.Fatal("no connection was routed")
		return arrival{}
	}
}

// client speaks HTTP/2 frame by frame.
type client struct {
	net.Conn
	*http2.Framer
}

// dialHTTP2 connects and sends the preface and empty SETTINGS.
func (e entrance) dialHTTP2(t *testing.T) client {
	t.Helper()
	conn := e.dial(t)
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	c := client{conn, http2.NewFramer(conn, conn)}
	c.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	must(t, c.WriteSettings())
	return c
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// headers returns the compressed headers of a request, from pairs of a name and a value.
func headers(t *testing.T, pairs ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	encoder := hpack.NewEncoder(&b)
	for i := 0; i < len(pairs); i += 2 {
		must(t, encoder.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]}))
	}
	return b.Bytes()
}

// request returns the compressed headers of a POST with a content type.
func request(t *testing.T, contentType string, more ...string) []byte {
	t.Helper()
	pairs := []string{":method", "POST", ":scheme", "http", ":path", "/grpc.health.v1.Health/Check", ":authority", "door", "content-type", contentType, "te", "trailers"}
	return headers(t, append(pairs, more...)...)
}

// await reads frames until one of a type, and returns it.
func await[F http2.Frame](t *testing.T, c client) F {
	t.Helper()
	for {
		frame, err := c.ReadFrame()
		if err != nil {
			t.Fatalf("no frame of type %T came: %v", *new(F), err)
		}
		if f, ok := frame.(F); ok {
			return f
		}
	}
}

func TestConnectionsAreRoutedByTheirFirstRequest(t *testing.T) {
	e := open(t, nil, nil)
	arrivals := e.accept(t)
	for contentType, want := range map[string]bool{
		"application/grpc":                true,
		"application/grpc+proto":          true,
		"Application/gRPC":                true,
		"application/grpc; charset=utf-8": true,
		"application/grpc;proto":          true,
		"application/grpc+json":           false,
		"application/grpc-web":            false,
		"application/grpc-web+proto":      false,
		"application/grpc-web-text":       false,
		"application/grpcx":               false,
		"application/proto":               false,
		"application/connect+proto":       false,
		"application/json":                false,
		"":                                false,
	} {
		t.Run(contentType, func(t *testing.T) {
			c := e.dialHTTP2(t)
			must(t, c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: request(t, contentType), EndHeaders: true, EndStream: true}))
			if got := next(t, arrivals).toGRPC; got != want {
				t.Errorf("routed to gRPC: %v, want %v", got, want)
			}
		})
	}
	for name, text := range map[string]string{
		"HTTP/1.1":                       "GET / HTTP/1.1\r\n",
		"a method that begins alike":     "PRINT / HTTP/1.1\r\n",
		"gRPC's content type, HTTP/1.1":  "POST / HTTP/1.1\r\nContent-Type: application/grpc\r\n\r\n",
		"a preface that ends otherwise":  "PRI * HTTP/2.0\r\n\r\nSN\r\n\r\n",
		"no protocol that anyone speaks": "\x00\x01\x02\x03",
	} {
		t.Run(name, func(t *testing.T) {
			c := e.dial(t)
			if _, err := io.WriteString(c, text); err != nil {
				t.Fatal(err)
			}
			conn := next(t, arrivals)
			got := make([]byte, len(text))
			if _, err := io.ReadFull(conn, got); err != nil || string(got) != text || conn.toGRPC {
				t.Errorf("the server reads %q, %v, to gRPC: %v; want %q by HTTP", got, err, conn.toGRPC, text)
			}
		})
	}
}

// TestClients uses real clients of each kind, with and without TLS.
func TestZeroLimitsAreTheDefaultOnes(t *testing.T) {
	e := open(t, nil, func(l *door.Limits) { *l = door.Limits{} })
	e.serve(t)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+e.address, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	if err := response.Body.Close(); err != nil {
		t.Error(err)
	}
}

func TestClients(t *testing.T) {
	serverTLS, clientTLS := certificate(t)
	for name, e := range map[string]entrance{"plain text": open(t, nil, nil), "TLS": open(t, serverTLS, nil)} {
		t.Run(name, func(t *testing.T) {
			e.serve(t)
			secure := name == "TLS"
			for want, set := range map[string]func(*http.Protocols){
				"HTTP/1.1": func(p *http.Protocols) { p.SetHTTP1(true) },
				"HTTP/2.0": func(p *http.Protocols) { p.SetHTTP2(secure); p.SetUnencryptedHTTP2(!secure) },
			} {
				protocols := new(http.Protocols)
				set(protocols)
				transport := &http.Transport{Protocols: protocols, TLSClientConfig: clientTLS.Clone()}
				defer transport.CloseIdleConnections()
				scheme := map[bool]string{true: "https://", false: "http://"}[secure]
				if got := get(t, transport, scheme+e.address); got != want {
					t.Errorf("a client of %s got %q", want, got)
				}
			}
			transport := insecure.NewCredentials()
			if secure {
				transport = credentials.NewTLS(clientTLS)
			}
			conn, err := grpc.NewClient(e.address, grpc.WithTransportCredentials(transport))
			must(t, err)
			defer func() { _ = conn.Close() }()
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			if _, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{}); err != nil {
				t.Errorf("a client of gRPC got %v", err)
			}
		})
	}
}

func get(t *testing.T, transport *http.Transport, url string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	must(t, err)
	response, err := (&http.Client{Transport: transport}).Do(request)
	must(t, err)
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	must(t, err)
	return string(body)
}

// TestAcknowledgmentOfTheDoorsSettingsIsWithheld sends the acknowledgment of the SETTINGS that
// the door sent at different times. net/http closes connections with one too many.
func TestAcknowledgmentOfTheDoorsSettingsIsWithheld(t *testing.T) {
	e := open(t, nil, nil)
	e.serve(t)
	for _, contentType := range []string{"application/grpc", "application/proto"} {
		for name, late := range map[string]bool{"before the request": false, "after the request": true} {
			t.Run(contentType+" "+name, func(t *testing.T) {
				c := e.dialHTTP2(t)
				await[*http2.SettingsFrame](t, c)
				if !late {
					must(t, c.WriteSettingsAck())
				}
				must(t, c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: request(t, contentType), EndHeaders: true}))
				if late {
					// The acknowledgment comes in pieces, between other frames.
					must(t, c.WritePing(false, [8]byte{1}))
					for _, b := range []byte{0, 0, 0, byte(http2.FrameSettings), byte(http2.FlagSettingsAck), 0, 0, 0, 0} {
						_, err := c.Write([]byte{b})
						must(t, err)
					}
				}
				for !await[*http2.SettingsFrame](t, c).IsAck() {
					// The server has sent its own SETTINGS, and then acknowledges the client's.
					must(t, c.WriteSettingsAck())
				}
				must(t, c.WriteData(1, true, []byte{0, 0, 0, 0, 0}))
				must(t, c.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, BlockFragment: request(t, contentType), EndHeaders: true}))
				must(t, c.WriteData(3, true, []byte{0, 0, 0, 0, 0}))
				for await[*http2.MetaHeadersFrame](t, c).StreamID != 3 {
				}
			})
		}
	}
}

// TestHeadersInPieces sends the first request byte by byte, and its headers in several frames.
func TestHeadersInPieces(t *testing.T) {
	e := open(t, nil, nil)
	e.serve(t)
	conn := e.dial(t)
	c := client{conn, http2.NewFramer(conn, conn)}
	c.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	var sent bytes.Buffer
	sent.WriteString(http2.ClientPreface)
	w := http2.NewFramer(&sent, nil)
	must(t, w.WriteSettings())
	block := request(t, "application/grpc", "x-long", strings.Repeat("x", 3000))
	must(t, w.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block[:10]}))
	must(t, w.WriteContinuation(1, false, block[10:20]))
	must(t, w.WriteContinuation(1, true, block[20:]))
	must(t, w.WriteData(1, true, []byte{0, 0, 0, 0, 0}))
	for _, b := range sent.Bytes() {
		_, err := conn.Write([]byte{b})
		must(t, err)
	}
	for _, field := range await[*http2.MetaHeadersFrame](t, c).Fields {
		if field.Name == "content-type" && field.Value != "application/grpc" {
			t.Errorf("the answer has content type %s, want that of gRPC", field.Value)
		}
	}
}

func TestProxiesMayMixProtocols(t *testing.T) {
	for name, separate := range map[string]bool{"mixed": false, "kept apart": true} {
		t.Run(name, func(t *testing.T) {
			e := open(t, nil, func(l *door.Limits) {
				trustLoopback(l)
				l.ProxiesSeparate = separate
			})
			c := e.dialHTTP2(t)
			must(t, c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: request(t, "application/grpc"), EndHeaders: true}))
			if toGRPC := next(t, e.accept(t)).toGRPC; toGRPC != separate {
				t.Errorf("the proxy's connection was routed to gRPC, which answers no other requests: %v, want %v", toGRPC, separate)
			}
		})
	}
}
