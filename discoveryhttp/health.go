package discoveryhttp

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"connectrpc.com/connect"

	"github.com/spanmesh/span/reconciler/condition"
)

// silentShown is how long a service counts as silent after it was. Between two watches that get
// no answer, a client may try the other protocol, which a service need not have.
const silentShown = 2*snapshotTimeout + maxPause

// unreachableAfter is how long a service fails before that is a condition. A service that is
// restarted, and a network that changes, take less.
const unreachableAfter = time.Minute

// health is how well one service works. It is plain data with the time passed in.
type health struct {
	// watch and publish are the calls of the two loops.
	watch, publish trouble
	// silentAt is when the service had accepted Watch and not sent all for silentAfter; zero if it
	// has sent its affiliates since.
	silentAt time.Time
}

// trouble are failures in a row; the zero value is none.
type trouble struct {
	since time.Time
	// last is the last of them.
	last error
}

// fail adds a failure.
func (t *trouble) fail(now time.Time, err error) {
	if t.since.IsZero() {
		t.since = now
	}
	t.last = err
}

// lasts reports whether failures go on for unreachableAfter.
func (t trouble) lasts(now time.Time) bool {
	return !t.since.IsZero() && now.Sub(t.since) >= unreachableAfter
}

// conditions returns the conditions of the service at an endpoint.
func (h health) conditions(now time.Time, endpoint string) (found []condition.Condition) {
	add := func(code condition.Code, cause, remedy string) {
		found = append(found, condition.Condition{Code: code, Subject: endpoint, Cause: cause, Remedy: remedy})
	}
	switch {
	case !h.silentAt.IsZero() && now.Sub(h.silentAt) < silentShown:
		add(condition.DiscoverySilent,
			fmt.Sprintf("the service has accepted the watch, and has not sent its affiliates for more than %v", silentAfter),
			"check what answers at the endpoint; behind a proxy that holds back streams, set protocol: connect, or let the proxy pass streams")
	case isRefused(h.watch.last) || isRefused(h.publish.last):
		failure := h.watch.last
		if !isRefused(failure) {
			failure = h.publish.last
		}
		add(condition.DiscoveryAnswerRefused, shortText(failure), "check what answers at the endpoint, and who is on the path")
	case h.watch.lasts(now):
		add(condition.DiscoveryUnreachable,
			fmt.Sprintf("the service has failed since %s: %s", h.watch.since.UTC().Format(time.RFC3339), shortText(h.watch.last)),
			"check the endpoint, the service, and the network on the way; known machines stay in the mesh")
	case h.publish.lasts(now):
		add(condition.DiscoveryUnpublished,
			fmt.Sprintf("the service has not taken this machine since %s: %s", h.publish.since.UTC().Format(time.RFC3339), shortText(h.publish.last)),
			"raise the limit that is named at the service, or check that all machines have the same cluster.secret; other machines may not find this one")
	}
	return found
}

// note changes the health, and reports it if there are other conditions now.
func (s *service) note(change func(now time.Time, h *health)) {
	now := time.Now()
	s.mu.Lock()
	before := s.shownCodes
	change(now, &s.health)
	s.shownCodes = ""
	for _, c := range s.health.conditions(now, s.endpoint) {
		s.shownCodes += string(c.Code)
	}
	changed := s.shownCodes != before
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
	return connect.NewError(failure.Code(), errors.New(text))
}
