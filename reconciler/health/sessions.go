package health

import (
	"fmt"
	"slices"
	"time"

	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/failure"
	"github.com/spanmesh/span/reconciler/human"
)

const (
	// unreachableAfter is how long a registry that was heard may fail. One that is restarted, and
	// a network that changes, take less.
	unreachableAfter = time.Minute
	// maxSkew is by how much this clock may be off. One that was off by more is right once it is
	// off by less than goodSkew.
	maxSkew  = 30 * time.Second
	goodSkew = 20 * time.Second
)

// judgeSessions finds what is wrong with the connections to registries: at most one condition
// for each, beside those of its registry and the clock.
func judgeSessions(now time.Time, s *Snapshot) []condition.Condition {
	// What is known of other machines is old when none of the registries answers.
	level := condition.SeverityError
	if s.Peers.Up > 0 || slices.ContainsFunc(s.Sessions, func(x Session) bool { return x.State == Connected }) {
		level = condition.SeverityWarning
	}
	var found []condition.Condition
	for i := range s.Sessions {
		x := &s.Sessions[i]
		if c := judgeSession(now, x, level); c.Code != "" {
			found = append(found, c)
		}
		found = append(found, judgeJoining(x)...)
		if x.Plain {
			found = append(found, condition.Condition{Code: condition.DiscoveryPlain, Subject: x.subject(),
				Cause:  "discovery uses plain HTTP: membership can be observed or blocked on the path",
				Remedy: "serve it with a certificate, and set an endpoint with https://"})
		}
	}
	return append(found, JudgeClock(s.Sessions, s.clockWasOff)...)
}

// judgeSession returns the condition of one session; the zero value for none. Those that the
// registry finds itself, of its answers, are not among them.
func judgeSession(now time.Time, x *Session, level condition.Severity) condition.Condition {
	c := condition.Condition{Subject: x.subject()}
	switch class := x.Failure.Class; {
	case x.State == Failed && isDenied(class):
		return refusedBy(c, x.Failure)
	case x.State == Failed && class.IsTLS():
		c.Code, c.Level = condition.DiscoveryTLS, level
		c.Cause, c.Remedy = x.Failure.Text+"; "+x.heard(now), x.tlsRemedy()
	case x.State == Failed && (class == failure.Silent || class == failure.NotAcceptable):
		return condition.Condition{}
	case x.State == Failed && (x.Heard.IsZero() || now.Sub(x.Since) >= unreachableAfter):
		c.Code, c.Level = condition.DiscoveryUnreachable, level
		c.Cause = fmt.Sprintf("%s for %s, %s%s", x.Failure.Text, coarse(now.Sub(x.Since)), x.heard(now), x.nextTry())
		c.Remedy = x.unreachableRemedy() + "; known machines stay in the mesh here, others may drop this one"
	default:
		return judgePublishing(now, x)
	}
	return c
}

// judgePublishing returns the condition of a registry that does not take this machine.
func judgePublishing(now time.Time, x *Session) condition.Condition {
	c := condition.Condition{Subject: x.subject()}
	switch {
	case isDenied(x.Unpublished.Class):
		return refusedBy(c, x.Unpublished)
	case x.State == Connected && x.Unpublished.Class != "" && now.Sub(x.UnpublishedSince) >= unreachableAfter:
		c.Code = condition.DiscoveryUnpublished
		c.Cause = fmt.Sprintf("this machine was not taken for %s: %s", coarse(now.Sub(x.UnpublishedSince)), x.Unpublished.Text)
		c.Remedy = "raise the limit that is named at the service, or check that all machines have the same cluster.secret; other machines may not find this one"
		if x.Registry == kubernetes {
			c.Remedy = "check that the machine's Node exists and nodeName is its name; other machines may not find this one"
		}
		return c
	default:
		return condition.Condition{}
	}
}

// kubernetes is the name of the registry of a Kubernetes cluster.
const kubernetes = "kubernetes"

// subject returns what the conditions of the session are about.
func (x *Session) subject() string {
	if x.URL == "" {
		return x.Registry
	}
	return x.URL
}

// heard says when the registry was last heard.
func (x *Session) heard(now time.Time) string {
	if x.Heard.IsZero() {
		return "never heard"
	}
	return fmt.Sprintf("last heard %s ago", coarse(now.Sub(x.Heard)))
}

func (x *Session) nextTry() string {
	if x.NextTry.IsZero() {
		return ""
	}
	return "; next try at " + clock(x.NextTry)
}

// isDenied reports whether a Kubernetes API server has refused the credentials.
func isDenied(c failure.Class) bool { return c == failure.Forbidden || c == failure.Unauthorized }

// refusedBy makes c the condition of an API server that refuses a request.
func refusedBy(c condition.Condition, f failure.Failure) condition.Condition {
	c.Code = condition.KubernetesRefused
	if f.Class == failure.Unauthorized {
		c.Cause = fmt.Sprintf("401, %s: the API server does not know these credentials", f.Request)
		c.Remedy = "give the machine a kubeconfig whose credentials are valid (docs/kubernetes.md)"
		return c
	}
	c.Cause = fmt.Sprintf("403, %s: these credentials have no right to it", f.Request)
	c.Remedy = "`kubectl apply -f deploy/kubernetes/rbac.yaml`, and use the credentials of its service account (docs/kubernetes.md)"
	return c
}

// setting names what says where the registry is.
func (x *Session) setting() string {
	if x.Registry == kubernetes {
		return "the address in the kubeconfig"
	}
	return "cluster.discovery.registries.service.endpoint"
}

func (x *Session) unreachableRemedy() string {
	if x.Failure.Proxy != "" {
		return "check that the proxy " + x.Failure.Proxy + " runs and passes this on, or correct HTTP_PROXY, HTTPS_PROXY and NO_PROXY in the agent's environment and restart the agent"
	}
	serves := "that `spanctl discovery serve` runs there"
	if x.Registry == kubernetes {
		serves = "that the API server runs there"
	}
	switch x.Failure.Class {
	case failure.Refused:
		return fmt.Sprintf("check address and port in %s, and %s", x.setting(), serves)
	case failure.NoSuchHost:
		return fmt.Sprintf("check the name in %s, and this machine's name servers", x.setting())
	case failure.NameServer:
		return "check this machine's name servers (/etc/resolv.conf), and the way to them"
	case failure.NoRoute:
		return fmt.Sprintf("check this machine's links and routes (`ip route`), and the address in %s", x.setting())
	case failure.Filtered:
		return "let this machine's own firewall pass TCP to it"
	case failure.Timeout:
		return fmt.Sprintf("check that the machine at %s is up, and that firewalls on the way pass TCP to its port", x.subject())
	case failure.Status, failure.Closed:
		return fmt.Sprintf("check what answers at %s, such as a proxy, and %s", x.subject(), serves)
	default:
		return fmt.Sprintf("check %s, and %s", x.setting(), serves)
	}
}

func (x *Session) tlsRemedy() string {
	return TLSRemedy(x.Failure.Class, x.setting(), x.Registry == kubernetes)
}

// TLSRemedy says what helps against a class of failures without a TLS session. Setting names what
// says where the registry is, which may be a Kubernetes API server.
func TLSRemedy(class failure.Class, setting string, isKubernetes bool) string {
	switch class {
	case failure.NotYetValid:
		return "set this machine's clock (`timedatectl set-ntp true`), or renew the certificate"
	case failure.Expired:
		return "renew the certificate; if this clock is wrong, set it (`timedatectl set-ntp true`)"
	case failure.UnknownAuthority:
		if isKubernetes {
			return "put the certificate of the cluster's authority in the kubeconfig"
		}
		return "set cluster.discovery.registries.service.ca to the certificate of the authority that has signed it"
	case failure.WrongName:
		return fmt.Sprintf("use a name of the certificate in %s, or make the certificate for this one", setting)
	case failure.PlainHTTP:
		if isKubernetes {
			return "put an address with TLS in the kubeconfig"
		}
		return fmt.Sprintf("serve it with a certificate, or write http:// in %s, whose calls can be observed on the path", setting)
	default:
		return fmt.Sprintf("check the port in %s, and the certificate of what answers there", setting)
	}
}

// nearestClock returns the session whose registry's clock is nearest to this one; nil where none is
// known.
func nearestClock(sessions []Session) (nearest *Session) {
	for i := range sessions {
		x := &sessions[i]
		if x.State == Connected && !x.SkewAt.IsZero() && (nearest == nil || x.Skew.Abs() < nearest.Skew.Abs()) {
			nearest = x
		}
	}
	return nearest
}

// ClockOffset returns by how much this clock is ahead of the registry's that is nearest to it;
// negative if it is behind.
func ClockOffset(sessions []Session) (offset time.Duration, known bool) {
	if nearest := nearestClock(sessions); nearest != nil {
		return nearest.Skew, true
	}
	return 0, false
}

// JudgeClock finds that this clock is off. Where it agrees with one registry, another one is off.
// WasOff is set where it was found to be off before.
func JudgeClock(sessions []Session, wasOff bool) []condition.Condition {
	nearest := nearestClock(sessions)
	if nearest == nil || !IsOff(nearest.Skew) && (!wasOff || nearest.Skew.Abs() < goodSkew) {
		return nil
	}
	where := "ahead of"
	if nearest.Skew < 0 {
		where = "behind"
	}
	return []condition.Condition{{
		Code:   condition.ClockOff,
		Cause:  fmt.Sprintf("this clock is %s %s %s", coarse(nearest.Skew.Abs()), where, nearest.subject()),
		Remedy: "`timedatectl set-ntp true`, here, or there if that clock is the wrong one",
	}}
}

// IsOff reports whether a clock is so far off that it has to be set.
func IsOff(skew time.Duration) bool { return skew.Abs() >= maxSkew }

// coarse returns a duration for people, to the minute from a minute on: what changes each second is
// no news.
func coarse(d time.Duration) string {
	if d >= time.Minute {
		d = d.Truncate(time.Minute)
	}
	return human.Duration(d)
}

// sessionsDue returns how long it takes until a failing session becomes a condition; zero for
// never.
func sessionsDue(now time.Time, sessions []Session) (due time.Duration) {
	for i := range sessions {
		x := &sessions[i]
		var failed time.Time
		if x.State == Failed {
			failed = x.Since
		}
		for _, since := range []time.Time{x.UnpublishedSince, failed} {
			wait := unreachableAfter - now.Sub(since)
			if !since.IsZero() && wait > 0 && (due == 0 || wait < due) {
				due = wait
			}
		}
	}
	return due
}
