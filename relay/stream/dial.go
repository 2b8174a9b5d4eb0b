package stream

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"
)

const (
	// dialTimeout bounds how long a stream may take to be there.
	dialTimeout = 10 * time.Second
	// maxHeader bounds the header of an answer, in bytes.
	maxHeader = 16 << 10
)

// Dialer connects to relays.
type Dialer struct {
	// TLS is the configuration of TLS; nil for the usual one.
	TLS *tls.Config
	// Dial makes connections; nil uses net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Proxy returns the proxy for a request; nil for that of the environment.
	Proxy func(*http.Request) (*url.URL, error)
	// Header is sent with the request.
	Header http.Header
}

// A StatusError is the answer of a server that has no stream for the caller.
type StatusError struct {
	// Status is the code and its text.
	Status string
	// Code is the status code of HTTP.
	Code int
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("the server answers %s, and opens no stream of a relay", e.Status)
}

// Dial opens a stream to a relay, whose URL has the path, such as https://discovery.example.com/relay.
func Dial(ctx context.Context, target string, config *tls.Config) (*Conn, error) {
	return Dialer{TLS: config}.Open(ctx, target)
}

// Open opens a stream to a relay at a URL.
func (d Dialer) Open(ctx context.Context, target string) (*Conn, error) {
	conn, err := d.open(ctx, target)
	if err != nil {
		return nil, fmt.Errorf("stream: connect to the relay %s: %w", redacted(target), err)
	}
	return conn, nil
}

func (d Dialer) open(ctx context.Context, target string) (*Conn, error) {
	// The stream outlives ctx.
	requestCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, cancel)
	timer := time.AfterFunc(dialTimeout, cancel)
	ended := func(err error) error {
		stop()
		timer.Stop()
		cancel()
		return err
	}
	request, err := http.NewRequestWithContext(requestCtx, http.MethodGet, target, http.NoBody)
	if err != nil {
		return nil, ended(err)
	}
	for name, values := range d.Header {
		request.Header[name] = values
	}
	request.Header.Set("Connection", "Upgrade")
	request.Header.Set("Upgrade", Protocol)
	var made dialed
	response, err := d.transport(&made).RoundTrip(request)
	if err != nil {
		return nil, ended(err)
	}
	if response.StatusCode != http.StatusSwitchingProtocols {
		_ = response.Body.Close()
		return nil, ended(&StatusError{response.Status, response.StatusCode})
	}
	body, is := response.Body.(io.ReadWriteCloser)
	if !is || !hasToken(response.Header.Values("Upgrade"), Protocol) {
		_ = response.Body.Close()
		return nil, ended(fmt.Errorf("the server changes to another protocol: %q", response.Header.Get("Upgrade")))
	}
	if !stop() || !timer.Stop() {
		// It was canceled while the answer came.
		_ = body.Close()
		return nil, ended(context.Cause(requestCtx))
	}
	conn := newConn(body, &made, nil, usual)
	go func() {
		<-conn.Done()
		cancel()
	}()
	return conn, nil
}

// transport returns one for a single connection by HTTP/1.1.
func (d Dialer) transport(made *dialed) *http.Transport {
	config := d.TLS.Clone()
	if config == nil {
		config = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	config.NextProtos = []string{"http/1.1"} // HTTP/2 has no upgrade
	proxy, dial := d.Proxy, d.Dial
	if proxy == nil {
		proxy = http.ProxyFromEnvironment
	}
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Transport{Proxy: proxy, TLSClientConfig: config, TLSHandshakeTimeout: dialTimeout, Protocols: protocols,
		DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: maxHeader,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dial(ctx, network, address)
			if err == nil {
				made.set(conn)
			}
			return conn, err
		}}
}

// dialed has the connection below that of HTTP, whose deadlines hold for it, too.
type dialed struct {
	mu   sync.Mutex
	conn net.Conn
}

func (d *dialed) set(c net.Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.conn = c
}

func (d *dialed) get() net.Conn {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.conn
}

// SetReadDeadline implements deadlines.
func (d *dialed) SetReadDeadline(t time.Time) error { return d.get().SetReadDeadline(t) }

// SetWriteDeadline implements deadlines.
func (d *dialed) SetWriteDeadline(t time.Time) error { return d.get().SetWriteDeadline(t) }

// redacted returns a URL without its password.
func redacted(target string) string {
	u, err := url.Parse(target)
	if err != nil {
		return "(not a URL)"
	}
	return u.Redacted()
}
