package discoveryhttp

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"
	"unicode"

	"connectrpc.com/connect"

	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/failure"
	"github.com/spanmesh/span/reconciler/health"
)

// silentShown is how long a service counts as silent after it was. Between two watches that get
// no answer, a client may try the other protocol, which a service need not have.
const silentShown = 2*snapshotTimeout + maxPause

// works is how well one service works. It is plain data with the time passed in.
type works struct {
	// watch and publish are the calls of the two loops.
	watch, publish trouble
	// connectedSince is when the service has sent all its affiliates after the last failure;
	// zero before, and while watch fails.
	connectedSince time.Time
	// heard is when the service has last answered with success; zero for never.
	heard time.Time
	// nextTry is when the next watch begins while watch fails.
	nextTry time.Time
	// failures has the number of failures by class.
	failures map[failure.Class]uint64
	// silentAt is when the service had accepted Watch and not sent all for silentAfter; zero if it
	// has sent its affiliates since.
	silentAt time.Time
}

// trouble are failures in a row; the zero value is none.
type trouble struct {
	since time.Time
	// failure is the last of them.
	failure failure.Failure
}

// fail adds a failure, and counts it.
func (h *works) fail(now time.Time, t *trouble, err error) {
	if t.since.IsZero() {
		t.since = now
	}
	t.failure = failureOf(now, err)
	if h.failures == nil {
		h.failures = map[failure.Class]uint64{}
	}
	h.failures[t.failure.Class]++
}

// isSilent reports whether the service is silent.
func (h *works) isSilent(now time.Time) bool {
	return !h.silentAt.IsZero() && now.Sub(h.silentAt) < silentShown
}

// conditions returns the conditions of the answers of the service at an endpoint.
func (h *works) conditions(now time.Time, endpoint string) (found []condition.Condition) {
	add := func(code condition.Code, cause, remedy string) {
		found = append(found, condition.Condition{Code: code, Subject: endpoint, Cause: cause, Remedy: remedy})
	}
	refused := h.watch.failure
	if refused.Class != failure.NotAcceptable {
		refused = h.publish.failure
	}
	switch {
	case h.isSilent(now):
		add(condition.DiscoverySilent,
			fmt.Sprintf("the service has accepted the watch, and has not sent its affiliates for more than %v", silentAfter),
			"check what answers at the endpoint; behind a proxy that holds back streams, set protocol: connect, or let the proxy pass streams")
	case refused.Class == failure.NotAcceptable:
		add(condition.DiscoveryAnswerRefused, refused.Text, "check what answers at the endpoint, and who is on the path")
	}
	return found
}

// standing is what a machine's conditions depend on.
type standing struct {
	silent         bool
	state          health.SessionState
	watch, publish failure.Class
	clockOff       bool
	notJoined      string
}

// standing returns what a machine's conditions depend on. s.mu is held.
func (s *service) standing(now time.Time) standing {
	x := s.sessionLocked()
	return standing{s.works.isSilent(now), x.State, x.Failure.Class, x.Unpublished.Class, health.IsOff(x.Skew), x.NotJoined.Text}
}

// note changes how well the service works, and reports it if there may be other conditions now.
func (s *service) note(change func(now time.Time, h *works)) {
	now := time.Now()
	s.mu.Lock()
	change(now, &s.works)
	is := s.standing(now)
	changed := is != s.stood
	s.stood = is
	s.mu.Unlock()
	if changed {
		s.client.changed()
	}
}

// maxText bounds the text of a service's error, in bytes.
const maxText = 500

// shortText returns the text of an error that a service may have chosen, for people.
func shortText(err error) string {
	text := strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, err.Error())
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText], "") + " ..."
	}
	return text
}

// plainError returns an error of a call with the service's text made fit for people. It keeps
// the code.
func plainError(err error) error {
	failure, ok := errors.AsType[*connect.Error](err)
	if !ok {
		return err
	}
	text := shortText(errors.New(failure.Message()))
	if text == failure.Message() {
		return err
	}
	short := connect.NewError(failure.Code(), errors.New(text))
	maps.Copy(short.Meta(), failure.Meta())
	return short
}
