package discoveryhttp

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"time"

	"connectrpc.com/connect"
	"github.com/hashicorp/go-retryablehttp"
	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/discoveryhttp/serverpb/serverpbconnect"
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

// Mark puts a firewall mark on a socket. It is best effort: a process without
// CAP_NET_ADMIN may not, and needs it only where a mesh is.
func Mark(mark uint32) func(network, address string, c syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) {
			_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, int(mark))
		})
	}
}

// dial makes the protocol's client for a service. Mark goes on its sockets, so
// that discovery does not depend on the tunnels that it is there to set up.
func dial(endpoint string, mark uint32) (serverpbconnect.ClusterClient, *http.Transport, error) {
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" {
		return nil, nil, fmt.Errorf("the discovery endpoint %q is not a URL with a host", endpoint)
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP2(u.Scheme == "https")
	protocols.SetUnencryptedHTTP2(u.Scheme == "http")
	dialer := &net.Dialer{Timeout: dialTimeout, Control: Mark(mark)}
	transport := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         dialer.DialContext,
		TLSHandshakeTimeout: dialTimeout,
		Protocols:           protocols,
		HTTP2:               &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
	}
	retrying := retryablehttp.NewClient()
	retrying.HTTPClient = &http.Client{Transport: transport}
	retrying.RetryMax = retries
	retrying.RetryWaitMin = 100 * time.Millisecond
	retrying.RetryWaitMax = time.Second
	retrying.Logger = nil
	// Without it the service's answer to the last try would be lost.
	retrying.ErrorHandler = retryablehttp.PassthroughErrorHandler
	client := serverpbconnect.NewClusterClient(retrying.StandardClient(), endpoint,
		connect.WithGRPC(), connect.WithReadMaxBytes(maxMessage))
	return client, transport, nil
}
