package health

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/failure"
)

const url = "https://disc.example.com/"

// outOf returns a session that has failed for some time, and was heard some time ago; 0 is
// never.
func outOf(class failure.Class, text string, since, heard time.Duration) Session {
	x := Session{Registry: "service", URL: url, State: Failed, Since: start.Add(-since), NextTry: start.Add(30 * time.Second),
		Failure: failure.Failure{Class: class, Text: text, Request: "list nodes"}}
	if heard > 0 {
		x.Heard = start.Add(-heard)
	}
	return x
}

func kube(x Session) Session {
	x.Registry = kubernetes
	return x
}

func off(skew time.Duration) Session {
	return Session{Registry: "service", URL: url, State: Connected, Since: start, Heard: start, Skew: skew, SkewAt: start}
}

func TestSessions(t *testing.T) {
	const refused = "connection refused"
	for _, test := range []struct {
		name     string
		sessions []Session
		peersUp  int
		// want has the severity, the code and parts of the cause and the remedy of each condition.
		want [][]string
	}{
		{name: "a session that works", sessions: []Session{off(29 * time.Second)}},
		{name: "one that has just begun", sessions: []Session{{Registry: "service", URL: url, State: Connecting, Since: start}}},
		{name: "never heard", sessions: []Session{outOf(failure.Refused, refused, 4*time.Minute, 0)},
			want: [][]string{{"error", "DiscoveryUnreachable", "connection refused for 4m, never heard; next try at 2026-11-28T09:00:30Z", "check address and port in cluster.discovery.registries.service.endpoint"}}},
		{name: "never heard, with peers from the cache", sessions: []Session{outOf(failure.Refused, refused, time.Second, 0)}, peersUp: 1,
			want: [][]string{{"warning", "DiscoveryUnreachable", "connection refused for 1s, never heard", "known machines stay in the mesh"}}},
		{name: "a proxy", sessions: []Session{{Registry: "service", URL: url, State: Failed, Since: start, NextTry: start,
			Failure: failure.Failure{Class: failure.NoRoute, Text: "through the proxy http://p:3128: no route to host", Proxy: "http://p:3128"}}},
			want: [][]string{{"error", "DiscoveryUnreachable", "through the proxy http://p:3128: no route to host", "check that the proxy http://p:3128 runs"}}},
		{name: "a restart", sessions: []Session{outOf(failure.Closed, "closed", 59*time.Second, time.Minute)}},
		{name: "an outage", sessions: []Session{outOf(failure.Timeout, "no answer in time", time.Minute, 2*time.Hour+61*time.Second)},
			want: [][]string{{"error", "DiscoveryUnreachable", "no answer in time for 1m, last heard 2h 1m ago", "firewalls on the way pass TCP"}}},
		{name: "one of two is out", sessions: []Session{off(0), outOf(failure.NoSuchHost, "no such host x", time.Hour, 0)},
			want: [][]string{{"warning", "DiscoveryUnreachable", "no such host x for 1h", "name servers"}}},
		{name: "a certificate that is not yet valid", sessions: []Session{outOf(failure.NotYetValid, "the certificate is valid from T", time.Second, 0)},
			want: [][]string{{"error", "DiscoveryTLS", "valid from T; never heard", "timedatectl set-ntp true"}}},
		{name: "an expired one, with peers", sessions: []Session{outOf(failure.Expired, "the certificate was valid until T", time.Second, time.Hour)}, peersUp: 3,
			want: [][]string{{"warning", "DiscoveryTLS", "valid until T; last heard 1h ago", "renew the certificate"}}},
		{name: "one of an unknown authority", sessions: []Session{outOf(failure.UnknownAuthority, "signed by X", time.Second, 0)},
			want: [][]string{{"error", "DiscoveryTLS", "signed by X", "set cluster.discovery.registries.service.ca"}}},
		{name: "one for another host", sessions: []Session{outOf(failure.WrongName, "for a, not for b", time.Second, 0)},
			want: [][]string{{"error", "DiscoveryTLS", "for a, not for b", "use a name of the certificate"}}},
		{name: "one without TLS", sessions: []Session{outOf(failure.PlainHTTP, "plain HTTP", time.Second, 0)},
			want: [][]string{{"error", "DiscoveryTLS", "plain HTTP", "serve it with a certificate, or write http:// in cluster.discovery.registries.service.endpoint, whose calls can be observed on the path"}}},
		{name: "answers that the registry itself reports", sessions: []Session{outOf(failure.Silent, "s", time.Hour, 0), outOf(failure.NotAcceptable, "n", time.Hour, 0)}},
		{name: "an API server that refuses to list", sessions: []Session{kube(outOf(failure.Forbidden, "403", time.Second, 0))},
			want: [][]string{{"warning", "KubernetesRefused", "403, list nodes", "kubectl apply -f deploy/kubernetes/rbac.yaml"}}},
		{name: "one that does not know the credentials", sessions: []Session{kube(outOf(failure.Unauthorized, "401", time.Second, 0))},
			want: [][]string{{"warning", "KubernetesRefused", "401, list nodes", "kubeconfig whose credentials are valid"}}},
		{name: "one that refuses to write", sessions: []Session{{Registry: kubernetes, URL: url, State: Connected, Since: start, Heard: start, UnpublishedSince: start,
			Unpublished: failure.Failure{Class: failure.Forbidden, Request: "patch nodes"}}},
			want: [][]string{{"warning", "KubernetesRefused", "403, patch nodes", "rbac.yaml"}}},
		{name: "a machine that is not taken", sessions: []Session{{Registry: "service", URL: url, State: Connected, Heard: start, UnpublishedSince: start.Add(-time.Minute),
			Unpublished: failure.Failure{Class: failure.Answered, Text: "it answers: full"}}},
			want: [][]string{{"warning", "DiscoveryUnpublished", "not taken for 1m: it answers: full", "raise the limit"}}},
		{name: "a clock that is behind", sessions: []Session{off(-(2*time.Hour + 3*time.Minute))},
			want: [][]string{{"warning", "ClockOff", "2h 3m behind " + url, "timedatectl set-ntp true"}}},
		{name: "a clock that is ahead", sessions: []Session{off(30 * time.Second)},
			want: [][]string{{"warning", "ClockOff", "30s ahead of " + url, "timedatectl"}}},
		{name: "a clock that agrees with one of two", sessions: []Session{off(time.Hour), off(time.Second)}},
		{name: "a clock of a service that is out", sessions: []Session{func() Session {
			x := off(time.Hour)
			x.State = Failed
			return x
		}()}},
		{name: "no TLS", sessions: []Session{{Registry: "service", URL: "http://disc.example.com", State: Connected, Plain: true}},
			want: [][]string{{"info", "DiscoveryPlain", "plain HTTP", "https://"}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := Snapshot{Started: start.Add(-time.Hour), Sessions: test.sessions, Peers: Peers{Up: test.peersUp}}
			found := Shown(Assess(start, s, nil))
			if len(found) != len(test.want) {
				t.Fatalf("got %+v", found)
			}
			for i, w := range test.want {
				c := found[i]
				if string(c.Severity()) != w[0] || string(c.Code) != w[1] || !strings.Contains(c.Cause, w[2]) || !strings.Contains(c.Remedy, w[3]) {
					t.Errorf("got %s %+v, want %v", c.Severity(), c.Condition, w)
				}
			}
		})
	}
}

func TestOutageIsDueAMinuteAfterItBegan(t *testing.T) {
	s := Snapshot{Started: start.Add(-time.Hour), Sessions: []Session{outOf(failure.Closed, "closed", 10*time.Second, time.Minute)}}
	conditions := Assess(start, s, nil)
	if due := Due(start, s, conditions); due != 50*time.Second || len(conditions) != 0 {
		t.Errorf("due in %v, %+v", due, conditions)
	}
	if got := codes(Assess(start.Add(50*time.Second), s, conditions)); len(got) != 1 || got[0] != condition.DiscoveryUnreachable {
		t.Errorf("got %v", got)
	}
}

func TestSkew(t *testing.T) {
	for _, test := range []struct {
		name  string
		date  time.Time
		took  time.Duration
		skew  time.Duration
		known bool
	}{
		{"the same clock", start, time.Second, 0, true},
		{"a clock an hour ahead", start.Add(-time.Hour), time.Second, time.Hour, true},
		{"an answer that was held back", start, time.Minute, 0, false},
		{"no date", time.Time{}, time.Second, 0, false},
	} {
		if skew, known := Skew(test.date, start, start.Add(test.took)); skew != test.skew || known != test.known {
			t.Errorf("%s: got %v, %v", test.name, skew, known)
		}
	}
}

// TestClockAtTheBound has a clock that drifts around what is too much.
func TestClockAtTheBound(t *testing.T) {
	var before []Condition
	now := start
	for _, step := range []struct {
		skew time.Duration
		off  bool
	}{
		{29 * time.Second, false},
		{30 * time.Second, true},
		{29 * time.Second, true},
		{31 * time.Second, true},
		{-29 * time.Second, true},
		{20 * time.Second, true},
		{19 * time.Second, false},
		{25 * time.Second, false},
		{-30 * time.Second, true},
	} {
		now = now.Add(time.Minute)
		s := Snapshot{Started: start.Add(-time.Hour), Sessions: []Session{{Registry: "service", State: Connected, Skew: step.skew, SkewAt: now}}}
		before = Assess(now, s, before)
		before = Assess(now.Add(30*time.Second), s, before)
		if off := slices.Contains(codes(before), condition.ClockOff); off != step.off {
			t.Errorf("%s: off is %v", step.skew, off)
		}
	}
}
