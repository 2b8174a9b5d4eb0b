package health

import (
	"slices"
	"time"

	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/mesh"
)

// Snapshot is what the health of a machine is judged by.
type Snapshot struct {
	// Started is when the agent started; zero for a single pass, which nothing settles in.
	Started time.Time
	// Converged is set when a pass has succeeded since the start.
	Converged bool
	// Found are the conditions that others have found: the last pass, registries, readers of
	// files.
	Found []condition.Condition
	// Failure is the last pass, if that failed.
	Failure *Failure
	// Offline says for each link why it does not connect the machine to others; empty if one
	// does.
	Offline []mesh.OfflineLink
	// Outside is how NATs map the machine's UDP port, by the servers and the router that were asked.
	Outside mesh.Outside
	// Peers are the connections to the peers.
	Peers Peers
	// Relays are the blind relays that the machine has joined.
	Relays []BlindRelay
	// Offered is the blind relay that it is for others.
	Offered OfferedRelay
	// Members are the machines of the cluster.
	Members Members
	// Sessions are the connections to registries.
	Sessions []Session
	// PathMTUs are the ways to peers on which large packets are lost.
	PathMTUs []PathMTU
	// Mesh is what the loop is asked for.
	Mesh Mesh
	Known

	// clockWasOff is set if this clock was found to be off before.
	clockWasOff bool
}

// settled reports whether the agent has run for long enough to have ended what each start begins
// with.
func (s *Snapshot) settled(now time.Time) bool {
	return !s.Started.IsZero() && now.Sub(s.Started) >= condition.StartTime
}

// Condition is a condition and its course.
type Condition struct {
	condition.Condition
	// Since is when it began.
	Since time.Time
	// Shown is set once it has lasted long enough, unless it is hidden.
	Shown bool
	// Announced is the severity that it was last shown with, and stays while it is hidden; "" as
	// long as it was never shown.
	Announced condition.Severity
	// found is when it was last found.
	found time.Time
}

// judges find the conditions of the parts of a Snapshot.
var judges = []func(now time.Time, s *Snapshot) []condition.Condition{
	func(_ time.Time, s *Snapshot) []condition.Condition { return s.Found },
	judgePass,
	judgeNetwork,
	judgePeers,
	judgePortMappings,
	judgeRelays,
	judgeMembers,
	judgeSessions,
	judgeMTU,
	judgeMesh,
	judgeConfig,
	judgeFiles,
	judgeDisk,
}

// Assess returns the present conditions, sorted, from what is known and what Assess returned
// before.
func Assess(now time.Time, s Snapshot, before []Condition) []Condition {
	s.clockWasOff = slices.ContainsFunc(before, func(c Condition) bool { return c.Code == condition.ClockOff })
	var found []condition.Condition
	for _, judge := range judges {
		found = append(found, judge(now, &s)...)
	}
	found = condition.Sort(found)
	earlier := make(map[condition.Key]Condition, len(before))
	for _, c := range before {
		earlier[c.Key()] = c
	}
	after := make([]Condition, 0, len(found))
	for _, c := range found {
		is := Condition{Condition: c, Since: now, found: now}
		if was, lasts := earlier[c.Key()]; lasts {
			is.Since, is.Shown, is.Announced = was.Since, was.Announced != "", was.Announced
			delete(earlier, c.Key())
		}
		definition := c.Code.Definition()
		is.Shown = is.Shown || now.Sub(is.Since) >= definition.After && (!definition.Settles || s.settled(now))
		after = append(after, is)
	}
	for _, was := range earlier {
		if was.Announced != "" && now.Sub(was.found) < was.Code.Definition().ClearsAfter {
			was.Shown = true
			after = append(after, was)
		}
	}
	hide(after)
	slices.SortFunc(after, func(a, b Condition) int { return condition.Compare(a.Condition, b.Condition) })
	return after
}

// hide marks those as not shown that another one that is shown is the cause of.
func hide(conditions []Condition) {
	hidden := map[condition.Code]bool{}
	for _, c := range conditions {
		if c.Shown {
			for _, code := range c.Code.Definition().Hides {
				hidden[code] = true
			}
		}
	}
	for i := range conditions {
		c := &conditions[i]
		c.Shown = c.Shown && !hidden[c.Code]
		if c.Shown {
			c.Announced = c.Severity()
		}
	}
}

// Begins reports whether a condition is to be announced: it is shown first, or matters more than when
// it was last shown. Was is what it was before; zero for none.
func (c *Condition) Begins(was Condition) bool {
	return c.Announced != "" && (was.Announced == "" || c.Announced.IsAbove(was.Announced))
}

// Shown returns the conditions that are shown.
func Shown(conditions []Condition) []Condition {
	return slices.DeleteFunc(slices.Clone(conditions), func(c Condition) bool { return !c.Shown })
}

// Due returns how long it takes until a condition is shown or ends by time alone; zero for
// never.
func Due(now time.Time, s Snapshot, conditions []Condition) time.Duration {
	due := sessionsDue(now, s.Sessions)
	for _, c := range conditions {
		definition := c.Code.Definition()
		wait := definition.After - now.Sub(c.Since)
		if definition.Settles && !s.Started.IsZero() {
			wait = max(wait, condition.StartTime-now.Sub(s.Started))
		}
		if !c.found.Equal(now) {
			wait = definition.ClearsAfter - now.Sub(c.found)
		}
		if wait > 0 && (due == 0 || wait < due) {
			due = wait
		}
	}
	return due
}

// State is the health of a machine in a word.
type State string

// The states, from the best to the worst.
const (
	// Healthy means that the mesh works as the config asks.
	Healthy State = "healthy"
	// Starting means that the agent has not done its first pass, or that no peer is up yet a short time after
	// it started: whether the mesh works is not known.
	Starting State = "starting"
	// Degraded means that there is a warning.
	Degraded State = "degraded"
	// Broken means that there is an error.
	Broken State = "broken"
)

// Report is the health of a machine.
type Report struct {
	State State
	// Ready is set when the mesh carries traffic: a peer is up, if any should be, whatever
	// conditions are not shown yet.
	Ready bool
	// Conditions are those that are shown, sorted.
	Conditions []Condition
	// Mapping is how a NAT maps the machine's UDP port, as far as it is known.
	Mapping mesh.Mapping
	// PortMappings are the ports that the router maps to that port, BehindNAT those of them that another
	// NAT is in front of, and PortMappingFaults why there are none. The lists are not to be changed.
	PortMappings, BehindNAT []mesh.PortMapping
	PortMappingFaults       []mesh.PortMappingFault
	// Relays are the blind relays that the machine has joined. The list is not to be changed.
	Relays []BlindRelay
	// Offered is the blind relay that it is for others.
	Offered OfferedRelay
}

// IsBehindNAT reports whether another NAT is in front of a router that maps a port.
func (r *Report) IsBehindNAT(m mesh.PortMapping) bool { return slices.Contains(r.BehindNAT, m) }

// Summarize makes the report of the conditions that Assess returned.
func Summarize(now time.Time, s Snapshot, conditions []Condition) Report {
	cutOff := s.Peers.Up == 0 && s.Peers.lacking(now, s.settled(now)) > 0
	r := Report{State: Healthy, Ready: s.Converged && !cutOff, Conditions: Shown(conditions), Mapping: s.mapping(), PortMappings: s.Outside.Router,
		PortMappingFaults: s.Outside.RouterFaults, Relays: s.Relays, Offered: s.Offered}
	for _, m := range s.Outside.Router {
		if s.Outside.IsBehindNAT(m) {
			r.BehindNAT = append(r.BehindNAT, m)
		}
	}
	if !s.Converged || cutOff && !s.Started.IsZero() && !s.settled(now) {
		r.State = Starting
	}
	for _, c := range r.Conditions {
		r.Ready = r.Ready && !c.NotReady()
		switch c.Severity() {
		case condition.SeverityError:
			r.State = Broken
		case condition.SeverityWarning:
			if r.State != Broken {
				r.State = Degraded
			}
		case condition.SeverityInfo:
		}
	}
	return r
}
