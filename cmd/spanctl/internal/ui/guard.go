package ui

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/spanmesh/span/cmd/spanctl/internal/room"
)

// contentPolicy lets the page use files of this server, and nothing else.
const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// answerHeaders are those of each answer.
var answerHeaders = map[string]string{
	"Content-Security-Policy":      contentPolicy,
	"X-Content-Type-Options":       "nosniff",
	"X-Frame-Options":              "DENY",
	"Referrer-Policy":              "no-referrer",
	"Cache-Control":                "no-store",
	"Cross-Origin-Opener-Policy":   "same-origin",
	"Cross-Origin-Resource-Policy": "same-origin",
}

// sessionKey is the context key of the *session of a request.
type sessionKey struct{}

// guard refuses requests that are not from the page, and those of browsers that showed no token.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name, value := range answerHeaders {
			w.Header().Set(name, value)
		}
		if why := refusal(r, s.options.AllowRemote); why != "" {
			fail(w, r, http.StatusForbidden, why)
			return
		}
		now := time.Now()
		found := s.sessionOf(now, r)
		if found != nil {
			room.Admit(r.Context()) // a connection that is not may still be used
		}
		if token := r.URL.Query().Get("token"); r.URL.Path == "/" && token != "" {
			s.enter(w, r, now, found, token)
			return
		}
		if found == nil {
			fail(w, r, http.StatusUnauthorized, "open the URL that `spanctl ui` printed, which is good for one browser and for 5 minutes; Enter in its terminal prints another, or start it again")
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), sessionKey{}, found)))
	})
}

// sessionOf returns the session of a request; nil if it has none.
func (s *Server) sessionOf(now time.Time, r *http.Request) *session {
	cookie, err := r.Cookie(s.cookieName)
	if err != nil {
		return nil
	}
	return s.access.session(now, cookie.Value)
}

// entered is the page that leads on. Without an icon, a browser would look for one.
const entered = `<!doctype html>
<html lang="en"><title>spanctl</title><link rel="icon" href="/favicon.svg"><p><a href="/">Go on</a></p></html>
`

// enter takes a token, and answers with the cookie. A browser that has a session keeps it, and the
// token stays good for another.
//
// The answer leads on to the page by itself. To a redirection, a browser that came from a file or
// from another site would not send a cookie that is SameSite=Strict.
func (s *Server) enter(w http.ResponseWriter, r *http.Request, now time.Time, found *session, token string) {
	if r.Method != http.MethodGet || r.Header.Get("Sec-Purpose") != "" {
		fail(w, r, http.StatusForbidden, "a token is taken from a page that is opened, not from one that is fetched ahead")
		return
	}
	if found == nil {
		cookie, ok := s.access.redeem(now, token)
		if !ok {
			fail(w, r, http.StatusUnauthorized, "this token was used, or is older than 5 minutes: Enter in the terminal of `spanctl ui` prints another URL, or start it again")
			return
		}
		room.Admit(r.Context())
		http.SetCookie(w, &http.Cookie{Name: s.cookieName, Value: cookie, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode})
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Refresh", "0; url=/")
	_, _ = io.WriteString(w, entered) // the browser is gone, then
}

// refusal returns why a request is refused, whoever sent it; "" if it is not.
func refusal(r *http.Request, remote bool) string {
	if !isOwnHost(r.Host, remote) {
		return "the Host of the request is neither this server's address nor localhost"
	}
	write := r.Method != http.MethodGet && r.Method != http.MethodHead
	origin := r.Header.Get("Origin")
	if (origin != "" || write) && origin != "http://"+r.Host {
		return "the Origin of the request is another one than this server's"
	}
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "none", "same-origin":
		return ""
	}
	// A link leads to the page from anywhere.
	if r.Method == http.MethodGet && r.URL.Path == "/" && r.Header.Get("Sec-Fetch-Mode") == "navigate" && r.Header.Get("Sec-Fetch-Dest") == "document" {
		return ""
	}
	return "another site sent the request"
}

// isOwnHost reports whether the Host of a request is an address. A name that another page resolves to
// this server's address is none, so that such a page cannot pass for this server's. On loopback the
// address is a loopback address: ports are not compared, since ssh forwards them.
func isOwnHost(host string, remote bool) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	if name == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(strings.Trim(name, "[]"))
	return err == nil && (remote || addr.Unmap().IsLoopback())
}
