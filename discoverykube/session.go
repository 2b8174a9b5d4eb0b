package discoverykube

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/spanmesh/span/reconciler/failure"
	"github.com/spanmesh/span/reconciler/health"
)

// The requests that an API server may refuse.
const (
	listNodes  = "list nodes"
	watchNodes = "watch nodes"
	patchNode  = "patch nodes"
)

// trouble is a request that fails.
type trouble struct {
	// since is when the first of the failures was, in a row.
	since time.Time
	// text is the error that was logged last.
	text    string
	failure failure.Failure
}

// Sessions implements reconciler.Registry.
func (c *client) Sessions() []health.Session {
	c.mu.Lock()
	defer c.mu.Unlock()
	x := health.Session{URL: c.url, State: health.Connecting, Since: c.began, Heard: c.heard, Failures: maps.Clone(c.failures)}
	if t, fails := c.faults[unreachable]; fails {
		x.State, x.Since, x.Failure = health.Failed, t.since, t.failure
	} else if !c.connectedSince.IsZero() {
		x.State, x.Since = health.Connected, c.connectedSince
	}
	for _, f := range []fault{nodeNotFound, notPublished} {
		if t, fails := c.faults[f]; fails && !c.readOnly {
			x.Unpublished, x.UnpublishedSince = t.failure, t.since
		}
	}
	x.Skew, x.SkewAt = c.clock.skew()
	return []health.Session{x}
}

// failureOf returns the failure that an error of a request is.
func failureOf(now time.Time, request string, err error) failure.Failure {
	switch {
	case apierrors.IsForbidden(err):
		return failure.Failure{Class: failure.Forbidden, Text: "HTTP status 403 Forbidden", Request: request}
	case apierrors.IsUnauthorized(err):
		return failure.Failure{Class: failure.Unauthorized, Text: "HTTP status 401 Unauthorized", Request: request}
	}
	if status, is := errors.AsType[*apierrors.StatusError](err); is && status.ErrStatus.Code != 0 {
		code := int(status.ErrStatus.Code)
		return failure.Failure{Class: failure.Status, Text: fmt.Sprintf("HTTP status %d %s", code, http.StatusText(code)), Request: request}
	}
	f := failure.Of(now, err)
	f.Text, f.Request = firstLine{errors.New(f.Text)}.Error(), request
	return f
}

// clock is that of an API server. It is safe for concurrent use.
type clock struct {
	mu    sync.Mutex
	ahead time.Duration
	at    time.Time
}

// skew returns by how much this clock is ahead, and when that was found.
func (c *clock) skew() (ahead time.Duration, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ahead, c.at
}

// clockTransport notes the clock of the API server.
type clockTransport struct {
	next  http.RoundTripper
	clock *clock
}

// RoundTrip implements http.RoundTripper.
func (t *clockTransport) RoundTrip(request *http.Request) (*http.Response, error) {
	sent := time.Now()
	response, err := t.next.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	if date, err := http.ParseTime(response.Header.Get("Date")); err == nil {
		now := time.Now()
		if skew, known := health.Skew(date, sent, now); known {
			t.clock.mu.Lock()
			t.clock.ahead, t.clock.at = skew, now
			t.clock.mu.Unlock()
		}
	}
	return response, nil
}
