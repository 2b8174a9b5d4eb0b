package discoveryhttp

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// refusedError is an error of a client that does not accept an answer. Another try is no use.
type refusedError struct {
	reason string
	// tooLong is set if the answer is longer than the client accepts.
	tooLong bool
}

func (e *refusedError) Error() string { return e.reason }

func refuse(format string, args ...any) error {
	return &refusedError{reason: fmt.Sprintf(format, args...)}
}

func refuseLength(limit int) error {
	return &refusedError{fmt.Sprintf("the service sends a message of more than %d bytes", limit), true}
}

// isRefused reports whether the client did not accept a service's answer.
func isRefused(err error) bool {
	_, is := errors.AsType[*refusedError](err)
	return is
}

// bounded is the transport of calls. It adds the member's token, and refuses answers that are
// compressed or too long before anything is decoded.
type bounded struct {
	// endpoint is the service that has the token.
	endpoint *url.URL
	token    string
	next     http.RoundTripper
	// proxy returns the proxy of a call; nil for none.
	proxy func(*http.Request) (*url.URL, error)
	// noteDate is called with the header of an answer, and when its request was sent.
	noteDate func(header http.Header, sent time.Time)
}

// RoundTrip implements http.RoundTripper.
func (b bounded) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.Header.Del("Authorization")
	if isSameService(b.endpoint, req.URL) {
		req.Header.Set("Authorization", "Bearer "+b.token)
	}
	sent := time.Now()
	response, err := b.next.RoundTrip(req)
	if err != nil {
		return nil, b.throughProxy(req, err)
	}
	response.Body = body{response.Body}
	b.noteDate(response.Header, sent)
	noteStatus(req.Context(), response.StatusCode)
	// The answer to Connect, the messages of gRPC, and those of a stream of Connect.
	for _, name := range []string{"Content-Encoding", "Grpc-Encoding", "Connect-Content-Encoding"} {
		if encoding := response.Header.Get(name); encoding != "" && encoding != "identity" {
			_ = response.Body.Close()
			return nil, refuse("the service answers compressed (%s: %.20q), which no client of it asks for", name, encoding)
		}
	}
	kind := response.Header.Get("Content-Type")
	if strings.HasPrefix(kind, "application/grpc") || strings.HasPrefix(kind, "application/connect+") {
		response.Body = newFrames(response.Body)
	} else {
		limit := maxUnary
		if response.StatusCode != http.StatusOK {
			limit = maxAnswer
		}
		response.Body = &limited{response.Body, limit, limit}
	}
	return response, nil
}

// isSameService reports whether a call to an address goes to the service at an endpoint: to the
// same port of the same host, or from HTTP to HTTPS at the same host.
func isSameService(endpoint, address *url.URL) bool {
	if !strings.EqualFold(endpoint.Hostname(), address.Hostname()) {
		return false
	}
	if endpoint.Scheme == "http" && address.Scheme == "https" {
		return portOf(address) == "443" || portOf(address) == portOf(endpoint)
	}
	return endpoint.Scheme == address.Scheme && portOf(endpoint) == portOf(address)
}

func portOf(u *url.URL) string {
	return cmp.Or(u.Port(), map[string]string{"http": "80", "https": "443"}[u.Scheme])
}

// checkRedirect returns an error for an HTTP redirect that is not followed. Via are the requests
// before, the oldest first.
func checkRedirect(req *http.Request, via []*http.Request) error {
	from := via[len(via)-1].URL
	switch {
	case len(via) > maxRedirects:
		return refuse("the service redirects more than %d times", maxRedirects)
	case req.URL.Scheme != "https" && req.URL.Scheme != from.Scheme:
		return refuse("the service redirects from %s to %s, which is not followed: set the endpoint that is meant", from.Scheme, shortURL(req.URL))
	case req.Method != http.MethodPost:
		return refuse("the service redirects to %s by an HTTP status that no call can follow: set the endpoint that is meant", shortURL(req.URL))
	}
	return nil
}

// shortURL returns the scheme and the host of a URL for an error or a log. A hostile service
// chooses them.
func shortURL(u *url.URL) string {
	const shown = 256
	text := (&url.URL{Scheme: u.Scheme, Host: u.Host}).String()
	return text[:min(len(text), shown)]
}

// redirectTarget returns the URL of the service that a Hello redirects to, which is a host with
// or without a port. It has the scheme of the service that redirects: TLS stays TLS.
func redirectTarget(from *url.URL, redirect string) (*url.URL, error) {
	u, err := url.Parse(from.Scheme + "://" + redirect)
	if _, printable := checkID([]byte(redirect)); !printable || err != nil || u.Host != redirect || u.Hostname() == "" {
		return nil, refuse("the service redirects to %.100q, which is not a host with a port", redirect)
	}
	return u, nil
}
