package discoveryhttp

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
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

func refuseLength(length int) error {
	return &refusedError{fmt.Sprintf("the service sends a message of %d bytes or more; spanctl accepts %d", length, maxMessage), true}
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
}

// RoundTrip implements http.RoundTripper.
func (b bounded) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.Header.Del("Authorization")
	if isSameService(b.endpoint, req.URL) {
		req.Header.Set("Authorization", "Bearer "+b.token)
	}
	response, err := b.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	// The answer to Connect, the messages of gRPC, and those of a stream of Connect.
	for _, name := range []string{"Content-Encoding", "Grpc-Encoding", "Connect-Content-Encoding"} {
		if encoding := response.Header.Get(name); encoding != "" && encoding != "identity" {
			_ = response.Body.Close()
			return nil, refuse("the service answers compressed (%s: %.20q), which no client of it asks for", name, encoding)
		}
	}
	kind := response.Header.Get("Content-Type")
	if strings.HasPrefix(kind, "application/grpc") || strings.HasPrefix(kind, "application/connect+") {
		response.Body = &frames{ReadCloser: response.Body}
	} else {
		limit := maxMessage
		if response.StatusCode != http.StatusOK {
			limit = maxAnswer
		}
		response.Body = &limited{response.Body, limit, limit}
	}
	return response, nil
}

// limited is the body of an answer that is one message.
type limited struct {
	io.ReadCloser
	// limit and left are how many bytes may come, and may still come.
	limit, left int
}

// Read implements io.Reader.
func (l *limited) Read(p []byte) (int, error) {
	// One byte beyond the limit tells the end from an excess.
	n, err := l.ReadCloser.Read(p[:min(len(p), l.left+1)])
	if l.left -= n; l.left < 0 {
		return 0, refuseLength(l.limit + 1)
	}
	return n, err
}

// frames is the body of a stream of messages: each has a byte of flags and its length before it
// (gRPC over HTTP/2, "Length-Prefixed-Message"; Connect, "Enveloped-Message").
type frames struct {
	io.ReadCloser
	// head is as much as was read of the five bytes before a message.
	head [5]byte
	have int
	// left is how much of the message is still to come, in bytes.
	left int
}

// compressed is the flag of a message that is compressed.
const compressed = 1

// Read implements io.Reader.
func (f *frames) Read(p []byte) (int, error) {
	n, err := f.ReadCloser.Read(p)
	if refused := f.pass(p[:n]); refused != nil {
		return 0, refused
	}
	return n, err
}

// pass follows the frames in a part of the stream.
func (f *frames) pass(part []byte) error {
	for len(part) > 0 {
		if f.left > 0 {
			n := min(f.left, len(part))
			f.left -= n
			part = part[n:]
			continue
		}
		n := copy(f.head[f.have:], part)
		f.have += n
		part = part[n:]
		if f.have < len(f.head) {
			return nil
		}
		f.have = 0
		if err := f.begin(f.head[0], binary.BigEndian.Uint32(f.head[1:])); err != nil {
			return err
		}
	}
	return nil
}

// begin begins a frame.
func (f *frames) begin(flags byte, length uint32) error {
	if flags&compressed != 0 {
		return refuse("the service sends a compressed message, which no client of it asks for")
	}
	limit := uint32(maxMessage)
	if flags != 0 {
		limit = maxAnswer // the end of a stream, in JSON
	}
	if length > limit {
		return refuseLength(int(length))
	}
	f.left = int(length)
	return nil
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
