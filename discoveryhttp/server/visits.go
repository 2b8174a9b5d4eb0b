package server

import (
	"errors"
	"net"
	"net/http"
	"strings"
	"time"

	"connectrpc.com/connect"
)

// What addresses may have open beside calls, in all and of one address: requests for pages and
// metrics, and those of probes, which the others do not crowd out.
const (
	visitsPerAddress, allVisits = 24, 1024
	probesPerAddress, allProbes = 16, 256
)

// visitRate is how often an address may ask for the page, its parts or the metrics. A page that is
// open asks every five seconds.
var visitRate = Rate{PerSecond: 50, Burst: 500}

var (
	errVisits = connect.NewError(connect.CodeResourceExhausted, errors.New("too many requests are open: take what you have asked for"))
	errProbes = connect.NewError(connect.CodeResourceExhausted, errors.New("too many probes are open"))
)

// withVisits bounds the requests for pages that are open, and how often an address makes them. It
// bounds the open ones of probes as well.
func (s *Server) withVisits(next http.Handler) http.Handler {
	refusals := connect.NewErrorWriter()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		caller := rateKey(s.callers.of(r.RemoteAddr, r.Header))
		open, full, isProbe := s.visits, errVisits, r.URL.Path == "/healthz" || r.URL.Path == "/readyz"
		if isProbe {
			open, full = s.probes, errProbes
		}
		if open.enter(caller) != nil {
			s.refuse(w, r, full)
			return
		}
		defer open.leave(caller)
		if !isProbe {
			if wait, ok := s.visitRates.reserve(caller, time.Now(), 0); !ok {
				_ = refusals.Write(w, r, rateError("this address", wait)) // the client may be gone
				sendRest(w, r)
				return
			}
		}
		next.ServeHTTP(w, r)
		sendRest(w, r)
	})
}

// sendRest sends what is left in a buffer, while the request counts as open: HTTP/2 withholds it
// until the client makes room for it.
func sendRest(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor >= 2 {
		_ = http.NewResponseController(w).Flush() // the client may be gone
	}
}

// connKey is the context key of the connection of a request on net/http.
type connKey struct{}

// refuse ends a request beyond a limit of open ones, without anything that a client could leave
// untaken. A connection of HTTP/2, which may have many of them, is closed. That of a trusted proxy,
// which others use, gets a header alone, for which HTTP/2 has no window.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	if r.ProtoMajor < 2 {
		w.Header().Set("Connection", "close")
		_ = connect.NewErrorWriter().Write(w, r, err) // the client may be gone
		return
	}
	if conn, ok := r.Context().Value(connKey{}).(net.Conn); ok && !s.callers.trusts(addressIn(r.RemoteAddr)) {
		_ = conn.Close()
		return
	}
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") && !strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc-web") {
		_ = connect.NewErrorWriter().Write(w, r, err) // a status of gRPC is a header
		return
	}
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(http.StatusTooManyRequests)
}
