package outside

import (
	"net/netip"
	"slices"
	"time"

	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/retry"
	"github.com/spanmesh/span/reconciler/when"
	"github.com/spanmesh/span/schema"
)

const (
	// MaxServers is how many servers are asked in a round.
	MaxServers = schema.MaxSTUNServers
	// checkInterval is the pause between two rounds where something else keeps the mapping, and where
	// there is none to keep.
	checkInterval = 5 * time.Minute
	// keepInterval is the same where nothing else keeps it: NATs forget a mapping of UDP after 30
	// seconds at the earliest, as Linux does.
	keepInterval = 25 * time.Second
	// firstRetry and lastRetry are the first and the longest pause after a round without an answer.
	firstRetry, lastRetry = 30 * time.Second, 15 * time.Minute
	// lossInterval is the least pause between two rounds where connections have ended, since the NAT may
	// have another mapping by now.
	lossInterval = 10 * time.Second
	// maxMissed is how many rounds without an answer in a row are taken for the servers' silence: what
	// was known stays.
	maxMissed = 3
)

// waits are how long the answer to each try is waited for (RFC 8489, section 6.2.1, with an end).
var waits = []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second, 2 * time.Second}

// ID is the transaction ID of a request, which its answer repeats (RFC 8489, section 5).
type ID = [12]byte

// Request is a request that is to be sent.
type Request struct {
	To netip.AddrPort
	ID ID
}

// Question is what the servers are asked for. With another one, they are asked anew.
type Question struct {
	// Port is WireGuard's; 0 without a mesh.
	Port uint16
	// Own are the machine's addresses.
	Own []netip.Addr
	// Servers are those to ask, of one IP version. At most MaxServers are asked.
	Servers []netip.AddrPort
	// Network differs after each change of the machine's network.
	Network int
	// Kept is set where other packets from the port keep the NAT's mapping. It is no other question.
	Kept bool
	// Losses counts the connections through the NAT that have ended. It is no other question; the servers
	// are asked soon.
	Losses int
	// Returns counts how often UDP has worked again after it had not. It is no other question; the servers
	// are asked soon, also where they were silent.
	Returns int
}

func (q *Question) same(other *Question) bool {
	return q.Port == other.Port && q.Network == other.Network && slices.Equal(q.Own, other.Own) && slices.Equal(q.Servers, other.Servers)
}

// asks reports whether there is somebody to ask.
func (q *Question) asks() bool { return q.Port != 0 && len(q.Servers) > 0 }

// exchange is a request to a server and its answer.
type exchange struct {
	Request
	tries int
	// next is when the next try is due, or the last is given up.
	next time.Time
	// seen is the answer; invalid before.
	seen netip.AddrPort
}

func (x *exchange) done(now time.Time) bool {
	return x.seen.IsValid() || x.tries == len(waits) && !now.Before(x.next)
}

// Asker asks servers in rounds.
type Asker struct {
	// NewID returns a random ID.
	NewID func() ID

	question Question
	// round are the exchanges under way; nil between two rounds.
	round []exchange
	// ended is when the last round ended; zero before the first, and when the next is due at once.
	ended time.Time
	// missed is the number of rounds without an answer in a row.
	missed int
	// losses and returns are those of the question when the last round began.
	losses, returns int

	mapping mesh.Mapping
}

// Mapping returns what the answers have shown.
func (a *Asker) Mapping() mesh.Mapping { return a.mapping }

// Step returns the requests that are to be sent now, and when the next step is due; zero for never.
func (a *Asker) Step(now time.Time, q Question) (send []Request, next time.Time) {
	a.ask(q)
	if !q.asks() {
		a.mapping = mesh.Mapping{}
		return nil, time.Time{}
	}
	if a.round == nil {
		if due := a.due(); now.Before(due) {
			return nil, due
		}
		a.losses, a.returns = q.Losses, q.Returns
		for _, server := range q.Servers[:min(len(q.Servers), MaxServers)] {
			a.round = append(a.round, exchange{Request: Request{server, a.NewID()}, next: now})
		}
	}
	if a.enough() || !slices.ContainsFunc(a.round, func(x exchange) bool { return !x.done(now) }) {
		a.end(now)
		return nil, a.due()
	}
	for i := range a.round {
		x := &a.round[i]
		if x.done(now) {
			continue
		}
		if !now.Before(x.next) {
			send = append(send, x.Request)
			x.next = now.Add(waits[x.tries])
			x.tries++
		}
		next = when.Earlier(next, x.next)
	}
	return send, next
}

// ask begins anew if the question is another one.
func (a *Asker) ask(q Question) {
	if !a.question.same(&q) {
		if q.Port != a.question.Port {
			a.mapping = mesh.Mapping{}
		}
		a.round, a.ended, a.missed = nil, time.Time{}, 0
	}
	a.question = q
}

// due is when the next round begins.
func (a *Asker) due() time.Time {
	switch {
	case a.ended.IsZero():
		return time.Time{}
	case a.question.Returns != a.returns:
		return a.ended.Add(lossInterval)
	case a.missed > 0:
		return a.ended.Add(retry.Pause(a.missed, firstRetry, lastRetry))
	case a.question.Losses != a.losses:
		return a.ended.Add(lossInterval)
	case a.mapping.Kind == mesh.NATIndependent && !a.question.Kept:
		return a.ended.Add(keepInterval)
	default:
		return a.ended.Add(checkInterval)
	}
}

// Asks reports whether a round begins at a time, unless the question is another one. None does without servers.
func (a *Asker) Asks(now time.Time) bool {
	return a.question.asks() && a.round == nil && !now.Before(a.due())
}

// Heard takes the answer of a server: it has seen the port at an address. Answers that nothing was asked
// for are dropped.
func (a *Asker) Heard(from netip.AddrPort, id ID, seen netip.AddrPort) {
	if !seen.Addr().IsGlobalUnicast() || seen.Addr().Is4() != from.Addr().Is4() {
		return
	}
	for i := range a.round {
		if x := &a.round[i]; x.To == from && x.ID == id && x.tries > 0 && !x.seen.IsValid() {
			x.seen = seen
		}
	}
}

// end ends a round.
func (a *Asker) end(now time.Time) {
	var answers []answer
	for _, x := range a.round {
		if x.seen.IsValid() {
			answers = append(answers, answer{x.To, x.seen})
		}
	}
	a.round, a.ended = nil, now
	if len(answers) > 0 {
		a.missed = 0
		if found := a.question.judge(answers); !a.bears(found) {
			a.mapping = found
		}
		return
	}
	if a.missed++; a.missed >= maxMissed {
		a.mapping = mesh.Mapping{}
	}
}

// bears reports whether a round in which too few have answered bears out what was known before.
func (a *Asker) bears(found mesh.Mapping) bool {
	return found.Kind == mesh.NATUnknown && found.Address == a.mapping.Address &&
		(a.mapping.Kind == mesh.NATDependent || slices.Equal(found.Ports, a.mapping.Ports))
}

// enough reports whether the servers at two addresses have answered, and both outside of any NAT.
func (a *Asker) enough() bool {
	var first netip.Addr
	for _, x := range a.round {
		switch server := x.To.Addr(); {
		case !x.seen.IsValid() || a.question.isOwn(x.seen):
		case !first.IsValid():
			first = server
		case first != server:
			return true
		}
	}
	return false
}
