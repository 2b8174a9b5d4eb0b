package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/discoveryhttp/reflectpb"
	"github.com/spanmesh/span/discoveryhttp/reflectpb/reflectpbconnect"
	"github.com/spanmesh/span/netlinkapply"
	"github.com/spanmesh/span/netlinkapply/firewall"
	"github.com/spanmesh/span/reconciler/reflection"
	"github.com/spanmesh/span/schema"
)

const (
	// arrivalTime is how long datagrams may take after the answer of the server that has sent them,
	// and arrivalPoll how often they are looked for.
	arrivalTime = 2 * time.Second
	arrivalPoll = 20 * time.Millisecond
)

// families are those in which a server is asked, by the networks of package net.
var families = []struct{ name, tcp string }{{"IPv4", "tcp4"}, {"IPv6", "tcp6"}}

// outsider asks discovery services how this machine looks from outside.
type outsider struct {
	link     string
	port     int
	dial     dialFunc
	roots    *x509.CertPool
	counters func(link string, port int) (reflection.Counts, error)
}

func newOutsider(c *schema.Config) *outsider {
	kubespan := c.KubeSpan()
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	roots.AppendCertsFromPEM([]byte(c.Cluster.Discovery.Registries.Service.CA))
	return &outsider{link: kubespan.InterfaceName, port: kubespan.ListenPort, roots: roots,
		dial: netlinkapply.MarkedDialer(kubespan.FirewallMark), counters: firewall.Reflections}
}

// look asks each service in turn, until one has answered.
func (o *outsider) look(ctx context.Context, services []string) []Outside {
	if _, err := o.counters(o.link, o.port); err != nil {
		return []Outside{{Fault: o.counterFault(err)}}
	}
	var refused []Outside
	for _, service := range services {
		found, answered := o.ask(ctx, service)
		if answered {
			return found
		}
		refused = append(refused, found...)
	}
	return refused
}

func (o *outsider) counterFault(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENOENT):
		return fmt.Sprintf("there is no mesh here with UDP %d", o.port)
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return "the counters of nftables cannot be read without CAP_NET_ADMIN"
	default:
		return "the counters of nftables cannot be read: " + err.Error()
	}
}

// ask asks a service in each family. Answered is set if it has told something.
func (o *outsider) ask(ctx context.Context, service string) (found []Outside, answered bool) {
	target, err := url.Parse(service)
	if err != nil {
		return nil, false // the check of the service says so
	}
	base := Outside{URL: target.Redacted()}
	if request, err := http.NewRequestWithContext(ctx, http.MethodGet, service, http.NoBody); err == nil {
		if proxy, err := http.ProxyFromEnvironment(request); err == nil && proxy != nil {
			base.Fault = "is reached through the proxy " + proxy.Redacted() + ", to which it would send"
			return []Outside{base}, false
		}
	}
	for _, family := range families {
		one, reached := o.askIn(ctx, service, family.tcp)
		if !reached {
			continue
		}
		one.URL, one.Family = base.URL, family.name
		found = append(found, one)
		answered = answered || one.Fault == ""
	}
	if len(found) == 0 {
		base.Fault = "does not answer"
		found = append(found, base)
	}
	return found, answered
}

// askIn asks a service by one family. Reached is false if there is no connection.
func (o *outsider) askIn(ctx context.Context, service, network string) (found Outside, reached bool) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	var mu sync.Mutex
	var local, remote netip.Addr
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: o.roots}, ForceAttemptHTTP2: true, DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			conn, err := o.dial(ctx, network, address)
			if err == nil {
				mu.Lock()
				defer mu.Unlock()
				local, remote = addressOf(conn.LocalAddr()), addressOf(conn.RemoteAddr())
			}
			return conn, err
		}}
	before, err := o.counters(o.link, o.port)
	if err != nil {
		return Outside{Fault: o.counterFault(err)}, true
	}
	client := reflectpbconnect.NewReflectServiceClient(&http.Client{Transport: transport}, service)
	response, err := client.Reflect(ctx, connect.NewRequest(&reflectpb.ReflectRequest{Port: uint32(o.port)}))
	mu.Lock()
	found.Local, found.Remote, reached = local, remote, local.IsValid()
	mu.Unlock()
	if err != nil {
		found.Fault = reflectFault(err)
		return found, reached
	}
	found.Seen, _ = netip.AddrFromSlice(response.Msg.GetAddress())
	found.Sent = int(response.Msg.GetSent())
	counted, known := o.await(ctx, before, found.Sent)
	if !known {
		found.Fault = "the firewall table was made anew meanwhile: try again"
	}
	found.Arrived, found.Accepted = int(counted.Arrived), int(counted.Accepted)
	return found, reached
}

// await waits until all datagrams were counted, or none can come any more.
func (o *outsider) await(ctx context.Context, before reflection.Counts, sent int) (counted reflection.Counts, known bool) {
	ctx, cancel := context.WithTimeout(ctx, arrivalTime)
	defer cancel()
	poll := time.NewTicker(arrivalPoll)
	defer poll.Stop()
	for {
		now, err := o.counters(o.link, o.port)
		if err != nil {
			return reflection.Counts{}, false
		}
		if counted, known = now.Since(before); !known || counted.Accepted >= uint64(sent) {
			return counted, known
		}
		select {
		case <-ctx.Done():
			return counted, known
		case <-poll.C:
		}
	}
}

func addressOf(a net.Addr) netip.Addr {
	with, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.Addr{}
	}
	return with.Addr().Unmap().WithZone("")
}

// reflectFault says why a service has sent nothing.
func reflectFault(err error) string {
	code, answered := connect.CodeOf(err), connect.IsWireError(err)
	var answer *connect.Error
	switch {
	case code == connect.CodeUnimplemented, code == connect.CodeUnknown && !answered:
		return noReflect
	case code == connect.CodeResourceExhausted && answered:
		return "was asked from this address a short time ago: try again in 10 seconds"
	case answered && errors.As(err, &answer):
		return "refuses: " + answer.Message()
	default:
		return faultOf(err)
	}
}

// noReflect is the fault of a server of another program or version, or one that was told not to.
const noReflect = "has no Reflect: it is another program or version, or runs with --reflect=false"

// localAddresses returns the addresses of this machine by their links.
func localAddresses() map[netip.Addr]string {
	all := map[netip.Addr]string{}
	links, err := net.Interfaces()
	if err != nil {
		return nil
	}
	for _, link := range links {
		addresses, err := link.Addrs()
		if err != nil {
			continue
		}
		for _, a := range addresses {
			if prefix, err := netip.ParsePrefix(a.String()); err == nil {
				all[prefix.Addr().WithZone("")] = link.Name
			}
		}
	}
	return all
}
