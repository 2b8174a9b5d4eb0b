package discoveryhttp

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"
	"github.com/hashicorp/go-retryablehttp"
	"golang.org/x/net/http/httpproxy"

	"github.com/spanmesh/span/discoveryhttp/relaypb"
	"github.com/spanmesh/span/discoveryhttp/relaypb/relaypbconnect"
	"github.com/spanmesh/span/discoveryhttp/serverpb"
	"github.com/spanmesh/span/discoveryhttp/serverpb/serverpbconnect"
)

// Protocol is the protocol of a discovery service.
type Protocol string

// The protocols.
const (
	// Auto starts with gRPC, which every service answers. When a call fails, it changes to
	// Connect, which passes through proxies for HTTP/1.1.
	Auto Protocol = "auto"
	// GRPC is the protocol of Sidero's service, and of package server.
	GRPC Protocol = "grpc"
	// Connect is a protocol of package server.
	Connect Protocol = "connect"
)

const (
	dialTimeout = 5 * time.Second
	// pingAfter is how long a connection may be idle before it is tested with an HTTP/2
	// ping, and pingTimeout how long the answer may take.
	pingAfter   = 15 * time.Second
	pingTimeout = 10 * time.Second
	// retries is the number of retries within one call. Pauses between calls are longer.
	retries = 2
	// streamBuffer and connectionBuffer bound what a service may send ahead of what is read, in
	// bytes.
	streamBuffer     = 512 << 10
	connectionBuffer = 1 << 20
)

// dialer makes connections to a service and to those that it redirects to.
type dialer struct {
	protocol Protocol
	// token is the bearer token of a member.
	token   string
	grpc    *http.Transport
	connect *http.Transport
	log     *slog.Logger
	// proxy is the Proxy of the transports, by the environment.
	proxy func(*http.Request) (*url.URL, error)

	// mu guards the fields below.
	mu sync.Mutex
	// fallback is set while Auto uses Connect.
	fallback bool
	// skew is by how much this clock is ahead of the service's, as of skewAt; zero for unknown.
	skew   time.Duration
	skewAt time.Time
	// redirectedTo is where HTTP has redirected a call last.
	redirectedTo string
	// open are the connections that are not closed.
	open map[*tracked]bool
}

// tracked is a connection in its dialer's open connections, until it is closed.
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

// closeAll closes all connections. After a change of the machine's network they may lead
// nowhere, and TCP would take minutes to notice.
func (d *dialer) closeAll() {
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
			return nil, errors.New("cluster.discovery.registries.service.ca: has no certificate in PEM")
		}
		config.RootCAs = pool
	}
	d := &dialer{protocol: o.Protocol, token: token, log: o.Log, open: map[*tracked]bool{}}
	proxyOf := httpproxy.FromEnvironment().ProxyFunc()
	d.proxy = func(r *http.Request) (*url.URL, error) { return proxyOf(r.URL) }
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
			Proxy:                  d.proxy,
			OnProxyConnectResponse: checkConnect,
			DialContext:            dial,
			TLSClientConfig:        config,
			TLSHandshakeTimeout:    dialTimeout,
			Protocols:              protocols,
			// Nothing of ours can be compressed: it is encrypted.
			DisableCompression:     true,
			MaxResponseHeaderBytes: maxAnswer,
			HTTP2: &http.HTTP2Config{
				SendPingTimeout:               pingAfter,
				PingTimeout:                   pingTimeout,
				WriteByteTimeout:              callTimeout,
				MaxReceiveBufferPerStream:     streamBuffer,
				MaxReceiveBufferPerConnection: connectionBuffer,
			},
		}
	}
	d.grpc, d.connect = transport(false), transport(true)
	return d, nil
}

// isAuto reports whether the protocol is Auto.
func (d *dialer) isAuto() bool { return d.protocol != GRPC && d.protocol != Connect }

// usesGRPC reports whether the next dial is by gRPC.
func (d *dialer) usesGRPC() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.protocol == GRPC || d.isAuto() && !d.fallback
}

// alternate makes the next dial use the other protocol, if the protocol is Auto.
func (d *dialer) alternate() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fallback = !d.fallback
}

// closeIdle closes the connections that no call uses.
func (d *dialer) closeIdle() {
	d.grpc.CloseIdleConnections()
	d.connect.CloseIdleConnections()
}

// connection is a client of one endpoint.
type connection struct {
	hello  *connect.Client[serverpb.HelloRequest, serverpb.HelloResponse]
	update *connect.Client[serverpb.AffiliateUpdateRequest, serverpb.AffiliateUpdateResponse]
	remove *connect.Client[serverpb.AffiliateDeleteRequest, serverpb.AffiliateDeleteResponse]
	list   *connect.Client[serverpb.ListRequest, message]
	watch  *connect.Client[serverpb.WatchRequest, message]
	// describe and join are those of spanctl's own services, always by Connect.
	describe *connect.Client[relaypb.DescribeRequest, relaypb.DescribeResponse]
	join     *connect.Client[relaypb.JoinRequest, relaypb.JoinResponse]
	// url is the URL of the service.
	url *url.URL
	// grpc is set if the protocol is gRPC.
	grpc bool
}

// protocol returns the protocol of the connection.
func (c *connection) protocol() Protocol {
	if c.grpc {
		return GRPC
	}
	return Connect
}

// dial returns a client for an endpoint. It connects with the first call.
func (d *dialer) dial(endpoint string) (*connection, error) {
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" {
		return nil, fmt.Errorf("the discovery endpoint %q is not a URL with a host", endpoint)
	}
	grpc := d.usesGRPC()
	options := []connect.ClientOption{
		connect.WithCodec(codec{}),
		connect.WithReadMaxBytes(maxUnary),
		connect.WithAcceptCompression("gzip", nil, nil),
	}
	transport := d.connect
	if grpc {
		transport, options = d.grpc, append(options, connect.WithGRPC())
	}
	h := d.httpClient(u, transport)
	endpoint = strings.TrimRight(endpoint, "/")
	own := d.httpClient(u, d.connect)
	return &connection{
		url:      u,
		describe: connect.NewClient[relaypb.DescribeRequest, relaypb.DescribeResponse](own, endpoint+relaypbconnect.RelayServiceDescribeProcedure, connect.WithReadMaxBytes(maxUnary)),
		join:     connect.NewClient[relaypb.JoinRequest, relaypb.JoinResponse](own, endpoint+relaypbconnect.RelayServiceJoinProcedure, connect.WithReadMaxBytes(maxUnary)),
		hello:    connect.NewClient[serverpb.HelloRequest, serverpb.HelloResponse](h, endpoint+serverpbconnect.ClusterHelloProcedure, options...),
		update:   connect.NewClient[serverpb.AffiliateUpdateRequest, serverpb.AffiliateUpdateResponse](h, endpoint+serverpbconnect.ClusterAffiliateUpdateProcedure, options...),
		remove:   connect.NewClient[serverpb.AffiliateDeleteRequest, serverpb.AffiliateDeleteResponse](h, endpoint+serverpbconnect.ClusterAffiliateDeleteProcedure, options...),
		list:     connect.NewClient[serverpb.ListRequest, message](h, endpoint+serverpbconnect.ClusterListProcedure, options...),
		watch:    connect.NewClient[serverpb.WatchRequest, message](h, endpoint+serverpbconnect.ClusterWatchProcedure, options...),
		grpc:     grpc,
	}, nil
}

// httpClient returns an HTTP client for the service at an endpoint. It retries, and follows
// redirects of HTTP that are as safe.
func (d *dialer) httpClient(endpoint *url.URL, transport http.RoundTripper) *http.Client {
	retrying := retryablehttp.NewClient()
	retrying.HTTPClient = &http.Client{
		Transport: bounded{endpoint, d.token, transport, d.proxy, d.noteDate},
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			err := checkRedirect(req, via)
			if err == nil {
				d.noteRedirect(endpoint, req.URL)
			}
			return err
		},
	}
	retrying.RetryMax = retries
	retrying.RetryWaitMin = 100 * time.Millisecond
	retrying.RetryWaitMax = time.Second
	// The service does not choose the pause (Retry-After): a call would end without its answer.
	retrying.Backoff = func(least, most time.Duration, attempt int, _ *http.Response) time.Duration {
		return retryablehttp.DefaultBackoff(least, most, attempt, nil)
	}
	retrying.Logger = nil
	// Without the handler, the service's answer to the last try is lost. After a redirect that
	// is not followed there are an error and an answer, whose body is closed.
	retrying.ErrorHandler = func(response *http.Response, err error, _ int) (*http.Response, error) {
		if err != nil {
			return nil, err
		}
		return response, nil
	}
	retrying.CheckRetry = func(ctx context.Context, response *http.Response, err error) (bool, error) {
		if isRefused(err) {
			return false, nil
		}
		return retryablehttp.DefaultRetryPolicy(ctx, response, err)
	}
	return retrying.StandardClient()
}

// noteRedirect logs a redirect of HTTP unless it is the last one again: every call is
// redirected.
func (d *dialer) noteRedirect(endpoint, to *url.URL) {
	target := shortURL(to)
	d.mu.Lock()
	known := d.redirectedTo == target
	d.redirectedTo = target
	d.mu.Unlock()
	if !known {
		d.log.Info("discovery redirect", "from", shortURL(endpoint), "to", target, "member_token_sent", isSameService(endpoint, to))
	}
}
