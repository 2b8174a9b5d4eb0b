package door

import (
	"cmp"
	"net/netip"
	"time"
)

// Limits are the bounds of connections. A bound of zero is that of DefaultLimits.
type Limits struct {
	// Connections bounds the connections of all callers. When there are as many, a caller
	// with few connections takes the place of one of the caller with the most.
	Connections int
	// PerCaller bounds the connections of one address, or of one IPv6 /64. It does not
	// apply to trusted proxies.
	PerCaller int
	// Pending bounds the connections that are in their TLS handshake or have not sent the
	// headers of their first request. Further ones wait.
	Pending int
	// PendingPerCaller is the share of one caller in Pending.
	PendingPerCaller int
	// HeaderTimeout bounds the time from accepting a connection to the headers of its first
	// request.
	HeaderTimeout time.Duration
	// WriteTimeout bounds each write of up to 64 KiB.
	WriteTimeout time.Duration
	// Header bounds what a connection may send until the headers of its first request are
	// whole, in bytes.
	Header int
	// Streams is how many requests a client may have open at once
	// (SETTINGS_MAX_CONCURRENT_STREAMS, RFC 9113, section 6.5.2), until the server announces
	// its own limit.
	Streams uint32
	// TrustedProxies are the networks of proxies, which have many callers.
	TrustedProxies []netip.Prefix
	// ProxiesSeparate is set if trusted proxies never send gRPC and other requests on one
	// connection. Otherwise all their connections go to HTTP, whose server has to speak
	// gRPC, too.
	ProxiesSeparate bool
}

// DefaultLimits returns limits for a server on the open internet: a site of 1,000 machines
// behind one address has room for each to reconnect while its old connections still stand.
func DefaultLimits() Limits {
	return Limits{
		Connections:      20_000,
		PerCaller:        4096,
		Pending:          1024,
		PendingPerCaller: 256,
		HeaderTimeout:    10 * time.Second,
		WriteTimeout:     10 * time.Second,
		Header:           16 << 10,
		Streams:          250,
	}
}

// orDefaults returns the limits with those of DefaultLimits in place of zero.
func (l Limits) orDefaults() Limits {
	d := DefaultLimits()
	l.Connections = cmp.Or(l.Connections, d.Connections)
	l.PerCaller = cmp.Or(l.PerCaller, d.PerCaller)
	l.Pending = cmp.Or(l.Pending, d.Pending)
	l.PendingPerCaller = cmp.Or(l.PendingPerCaller, d.PendingPerCaller)
	l.HeaderTimeout = cmp.Or(l.HeaderTimeout, d.HeaderTimeout)
	l.WriteTimeout = cmp.Or(l.WriteTimeout, d.WriteTimeout)
	l.Header = cmp.Or(l.Header, d.Header)
	l.Streams = cmp.Or(l.Streams, d.Streams)
	return l
}

// trusts reports whether address is that of a trusted proxy.
func (l *Limits) trusts(address netip.Addr) bool {
	for _, p := range l.TrustedProxies {
		if p.Contains(address) {
			return true
		}
	}
	return false
}
