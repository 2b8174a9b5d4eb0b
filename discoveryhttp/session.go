package discoveryhttp

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	"github.com/spanmesh/span/reconciler/failure"
	"github.com/spanmesh/span/reconciler/health"
)

// Sessions implements reconciler.Registry: one for each service.
func (c *Client) Sessions() []health.Session {
	sessions := make([]health.Session, len(c.services))
	for i, s := range c.services {
		sessions[i] = s.session()
	}
	return sessions
}

// session returns the connection to the service.
func (s *service) session() health.Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sessionLocked()
}

// sessionLocked is session with s.mu held.
func (s *service) sessionLocked() health.Session {
	h := &s.works
	x := health.Session{URL: s.endpoint, RedirectedTo: s.redirectedTo, State: health.Connecting, Since: s.client.began, Heard: h.heard,
		Plain: isExposed(s.endpoint), Failures: maps.Clone(h.failures)}
	switch {
	case !h.watch.since.IsZero():
		x.State, x.Since, x.Failure, x.NextTry = health.Failed, h.watch.since, h.watch.failure, h.nextTry
		if h.isSilent(time.Now()) { // whatever the other protocol has tried meanwhile
			x.Failure = failure.Failure{Class: failure.Silent, Text: errSilent.Error()}
		}
	case !h.connectedSince.IsZero():
		x.State, x.Since = health.Connected, h.connectedSince
	}
	if !h.publish.since.IsZero() {
		x.Unpublished, x.UnpublishedSince = h.publish.failure, h.publish.since
	}
	x.NotJoined, x.Listed = s.notJoined, s.listed
	x.Skew, x.SkewAt = s.dialer.clock()
	return x
}

// noteHeard notes that the service has answered with success.
func (s *service) noteHeard() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.works.heard = time.Now()
}

// clock returns by how much this clock is ahead of the service's, and when that was found.
func (d *dialer) clock() (skew time.Duration, at time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.skew, d.skewAt
}

// noteDate notes the clock of the service, from an answer to a request that was sent before.
func (d *dialer) noteDate(header http.Header, sent time.Time) {
	date, err := http.ParseTime(header.Get("Date"))
	if err != nil {
		return // not every service says it
	}
	now := time.Now()
	skew, known := health.Skew(date, sent, now)
	if !known {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.skew, d.skewAt = skew, now
}

// statusKey is the key of a call's status in its context.
type statusKey struct{}

// withStatus returns a context for a call, and where the transport leaves the HTTP status of its
// last answer.
func withStatus(ctx context.Context) (context.Context, *atomic.Int64) {
	status := new(atomic.Int64)
	return context.WithValue(ctx, statusKey{}, status), status
}

// noteStatus leaves the HTTP status of an answer for the caller.
func noteStatus(ctx context.Context, status int) {
	if s, has := ctx.Value(statusKey{}).(*atomic.Int64); has {
		s.Store(int64(status))
	}
}

// statusError is the error of a call that HTTP has answered with an error.
type statusError struct {
	error
	status int
}

func (e *statusError) Unwrap() error { return e.error }

// callError returns the error of a call, fit for people, with the status of HTTP if that is why.
func callError(err error, status *atomic.Int64) error {
	err = plainError(err)
	if code := int(status.Load()); err != nil && code != 0 && code != http.StatusOK && !connect.IsWireError(err) {
		return &statusError{err, code}
	}
	return err
}

// failureOf returns the failure that an error of a call is.
func failureOf(now time.Time, err error) failure.Failure {
	if proxy, is := errors.AsType[*proxyError](err); is {
		f := failureOf(now, proxy.err)
		f.Proxy, f.Text = proxy.proxy, fmt.Sprintf("through the proxy %s: %s", proxy.proxy, f.Text)
		if f.Class.IsTLS() {
			f.Class = failure.Other // it is not the service's
		}
		return f
	}
	if isRefused(err) {
		return failure.Failure{Class: failure.NotAcceptable, Text: shortText(err)}
	}
	switch {
	case errors.Is(err, errSilent):
		return failure.Failure{Class: failure.Silent, Text: err.Error()}
	case errors.Is(err, errStreamEnded):
		return failure.Failure{Class: failure.Closed, Text: err.Error()}
	case errors.Is(err, http.ErrSchemeMismatch):
		return failure.NoTLS
	case connect.IsWireError(err):
		return failure.Failure{Class: failure.Answered, Text: "it answers: " + shortText(err)}
	}
	if answered, is := errors.AsType[*statusError](err); is {
		return failure.Failure{Class: failure.Status, Text: fmt.Sprintf("HTTP status %d %s", answered.status, http.StatusText(answered.status))}
	}
	f := failure.Of(now, err)
	if lost, is := errors.AsType[*lostError](err); is && f.Class == failure.Other {
		f = failure.Failure{Class: failure.Closed, Text: "the connection was lost: " + lost.Error()}
	}
	f.Text = shortText(errors.New(f.Text))
	return f
}
