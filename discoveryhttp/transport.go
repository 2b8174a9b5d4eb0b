package discoveryhttp

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"connectrpc.com/connect"
	"github.com/hashicorp/go-retryablehttp"

	"github.com/spanmesh/span/discoveryhttp/serverpb/serverpbconnect"
)

// Protocol is how a discovery service is spoken to.
type Protocol string

// The protocols.
const (
	// Auto begins with gRPC, which every service answers, and tries Connect when
	// that fails, which passes through proxies that speak HTTP/1.1 only.
	Auto Protocol = "auto"
	// GRPC is what Sidero's service speaks.
	GRPC Protocol = "grpc"
	// Connect is what our own server speaks as well.
	Connect Protocol = "connect"
)

const (
	dialTimeout = 5 * time.Second
	// pingAfter and pingTimeout find a connection that died in silence.
	pingAfter   = 15 * time.Second
	pingTimeout = 10 * time.Second
	// retries within one call; the client's own pauses come after them.
	retries = 2
	// maxMessage bounds what a service may send at once: a snapshot of 10,000
	// affiliates with 64 endpoints each stays below.
	maxMessage = 64 << 20
)

// dialer makes connections to a service and where it sends us.
type dialer struct {
	protocol Protocol
	token    string
	grpc     *http.Transport
	connect  *http.Transport

	mu sync.Mutex
	// second tells that the other protocol is to be tried.
	second bool
	// open are the connections that are not closed yet.
	open map[*tracked]bool
}

// tracked is a connection that its dialer knows of until it is closed.
type tracked struct {
	net.Conn
	dialer *dialer
}

// Close implements net.Conn.
func (t *tracked) Close() error {
	t.dialer.mu.Lock()
	delete(t.dialer.open, t)
	t.dialer.mu.Unlock()
	return t.Conn.Close()
}

// hangUp closes all connections: after a change of the machine's network they may
// lead nowhere, and TCP would take minutes to find out.
func (d *dialer) hangUp() {
	d.mu.Lock()
	open := slices.Collect(maps.Keys(d.open))
	d.mu.Unlock()
	for _, c := range open {
		_ = c.Close()
	}
}

func newDialer(o Options, token string) (*dialer, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.CA != "" {
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		if !pool.AppendCertsFromPEM([]byte(o.CA)) {
			return nil, errors.New("the authority of the discovery service is no certificate, PEM")
		}
		config.RootCAs = pool
	}
	d := &dialer{protocol: o.Protocol, token: token, open: map[*tracked]bool{}}
	plain := o.Dial
	if plain == nil {
		plain = new(net.Dialer).DialContext
	}
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, dialTimeout)
		defer cancel()
		c, err := plain(ctx, network, address)
		if err != nil {
			return nil, err
		}
		t := &tracked{c, d}
		d.mu.Lock()
		defer d.mu.Unlock()
		d.open[t] = true
		return t, nil
	}
	transport := func(http1 bool) *http.Transport {
		protocols := new(http.Protocols)
		protocols.SetHTTP1(http1)
		protocols.SetHTTP2(true)
		protocols.SetUnencryptedHTTP2(!http1)
		return &http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			DialContext:         dial,
			TLSClientConfig:     config,
			TLSHandshakeTimeout: dialTimeout,
			Protocols:           protocols,
			HTTP2:               &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
		}
	}
	d.grpc, d.connect = transport(false), transport(true)
	return d, nil
}

// alternate makes the next dial use the other protocol, where that is free.
func (d *dialer) alternate() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.second = !d.second
}

func (d *dialer) closeIdle() {
	d.grpc.CloseIdleConnections()
	d.connect.CloseIdleConnections()
}

// bearer shows the member's token with every request.
type bearer struct {
	token string
	next  http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (b bearer) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.Header.Set("Authorization", "Bearer "+b.token)
	return b.next.RoundTrip(req)
}

// dial makes the client of an endpoint; it connects with the first call.
func (d *dialer) dial(endpoint string) (serverpbconnect.ClusterClient, error) {
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" {
		return nil, fmt.Errorf("the discovery endpoint %q is not a URL with a host", endpoint)
	}
	d.mu.Lock()
	grpc := d.protocol == GRPC || d.protocol != Connect && !d.second
	d.mu.Unlock()
	options := []connect.ClientOption{connect.WithReadMaxBytes(maxMessage)}
	transport := d.connect
	if grpc {
		transport, options = d.grpc, append(options, connect.WithGRPC())
	}
	retrying := retryablehttp.NewClient()
	retrying.HTTPClient = &http.Client{Transport: bearer{d.token, transport}}
	retrying.RetryMax = retries
	retrying.RetryWaitMin = 100 * time.Millisecond
	retrying.RetryWaitMax = time.Second
	retrying.Logger = nil
	// Without it the service's answer to the last try would be lost.
	retrying.ErrorHandler = retryablehttp.PassthroughErrorHandler
	return serverpbconnect.NewClusterClient(retrying.StandardClient(), endpoint, options...), nil
}
