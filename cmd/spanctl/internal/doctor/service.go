package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/spanmesh/span/netlinkapply"
	"github.com/spanmesh/span/reconciler/failure"
)

const (
	// lookupTimeout and answerTimeout are how long a name server and a service may take.
	lookupTimeout = 5 * time.Second
	answerTimeout = 10 * time.Second
)

// gatherServices asks each discovery service of the config, and adds that work.
func gatherServices(ctx context.Context, r Request, work *sync.WaitGroup) []Service {
	registry := r.Config.Cluster.Discovery.Registries.Service
	urls := registry.URLs()
	all := make([]Service, len(urls))
	dial := netlinkapply.MarkedDialer(r.Config.KubeSpan().FirewallMark)
	for i, address := range urls {
		work.Go(func() { all[i] = askService(ctx, address, registry.CA, dial) })
	}
	return all
}

type dialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

// askService asks a service for an answer, whichever.
func askService(ctx context.Context, address, authorities string, dial dialFunc) Service {
	target, err := url.Parse(address)
	if err != nil {
		return Service{URL: "the endpoint", Fault: "is no URL"} // the error has the URL, and it may have a password
	}
	s := Service{URL: target.Redacted(), Host: target.Hostname()}
	s.Addresses, s.LookupFault = lookUp(ctx, s.Host)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		s.Fault = "is no URL"
		return s
	}
	if proxy, err := http.ProxyFromEnvironment(request); err == nil && proxy != nil {
		s.Proxy = proxy.Redacted()
	}
	config, certificate := watchCertificate(s.Host, authorities)
	client := &http.Client{Timeout: answerTimeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{DialContext: dial, Proxy: http.ProxyFromEnvironment, TLSClientConfig: config, ForceAttemptHTTP2: true, DisableKeepAlives: true}}
	s.Sent = time.Now()
	answer, err := client.Do(request)
	s.TLS = certificate()
	if err != nil {
		s.Fault = faultOf(err)
		return s
	}
	_ = answer.Body.Close()
	s.At = time.Now()
	s.Date, _ = http.ParseTime(answer.Header.Get("Date")) // zero without one
	return s
}

// lookUp returns the addresses of a host, or why there are none.
func lookUp(ctx context.Context, host string) (addresses []string, fault string) {
	if _, err := netip.ParseAddr(host); err == nil {
		return []string{"an address"}, ""
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	addresses, err := net.DefaultResolver.LookupHost(ctx, host)
	if err != nil {
		return nil, failure.Of(time.Now(), err).Text
	}
	slices.Sort(addresses)
	return addresses, ""
}

// watchCertificate returns a TLS config that checks nothing, and what the certificate was once a
// handshake has been tried: whether it is trusted is a finding, and so is the answer.
func watchCertificate(host, authorities string) (*tls.Config, func() *Certificate) {
	var mu sync.Mutex
	var seen *Certificate
	config := &tls.Config{InsecureSkipVerify: true, // nothing is sent but a request for /
		VerifyConnection: func(state tls.ConnectionState) error {
			mu.Lock()
			defer mu.Unlock()
			seen = judgeChain(state.PeerCertificates, host, authorities)
			return nil
		}}
	return config, func() *Certificate {
		mu.Lock()
		defer mu.Unlock()
		return seen
	}
}

// judgeChain returns the dates of a chain of certificates, which are those of the one that ends
// first, and whether it is trusted.
func judgeChain(chain []*x509.Certificate, host, authorities string) *Certificate {
	if len(chain) == 0 {
		return nil
	}
	c := &Certificate{NotBefore: chain[0].NotBefore, NotAfter: chain[0].NotAfter}
	between := x509.NewCertPool()
	for _, one := range chain[1:] {
		between.AddCert(one)
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	roots.AppendCertsFromPEM([]byte(authorities))
	// The dates are a finding of their own.
	_, err = chain[0].Verify(x509.VerifyOptions{DNSName: host, Roots: roots, Intermediates: between,
		CurrentTime: chain[0].NotBefore.Add(chain[0].NotAfter.Sub(chain[0].NotBefore) / 2)})
	if err != nil {
		c.Fault = failure.Of(time.Now(), &tls.CertificateVerificationError{UnverifiedCertificates: chain, Err: err})
	}
	return c
}

// faultOf says why there was no answer, in the words of the agent's conditions.
func faultOf(err error) string {
	if errors.Is(err, http.ErrSchemeMismatch) {
		return failure.NoTLS.Text
	}
	f := failure.Of(time.Now(), err)
	if f.Class == failure.Other {
		return "the connection broke before an answer" // the error may have the URL of a proxy, with a password
	}
	return f.Text
}
