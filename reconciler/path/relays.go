package path

import (
	"net/netip"
	"slices"
	"time"

	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/when"
)

const (
	// checkEvery is how often a relay that carries peers is checked, and checkAgain when another check
	// follows one that is not answered: longer than answers take around the world.
	checkEvery, checkAgain = time.Second, 600 * time.Millisecond
	// missedChecks is how many checks in a row are not answered when a relay counts as lost. It is so
	// within 1 + 3*0.6 seconds; with 1 % of loss, one that works does so once in two weeks, and that costs
	// little.
	missedChecks = 3
	// awayEvery is how often a relay that is reached over TCP is checked by UDP, and awayChecks how many
	// answers in a row show that it can be reached so.
	awayEvery, awayChecks = 2 * time.Second, 3
	// restEvery is how often a lost relay is checked, and one that carries no peers while another does: it
	// is known to be there when it is needed.
	restEvery = 3 * time.Second
	// firstForget is for how long a relay is not found to have lost its table once more: all sessions through
	// it begin anew then, and answers may be forged. It doubles up to lastForget, until there was none for
	// forgetRest.
	firstForget, lastForget, forgetRest = 30 * time.Second, 5 * time.Minute, 15 * time.Minute
)

// Relay is a blind relay with which the machine is to be registered.
type Relay struct {
	Key mesh.Key
	// At is where WireGuard reaches it. Used is set while peers are reached there.
	At   netip.AddrPort
	Used bool
	// Away are endpoints that are of use once they answer: those of UDP while At is over TCP.
	Away []netip.AddrPort
}

func (r *Relay) same(other *Relay) bool {
	return r.Key == other.Key && r.At == other.At && r.Used == other.Used && slices.Equal(r.Away, other.Away)
}

// RelayState is what checks have shown of a relay.
type RelayState struct {
	Key mesh.Key
	// At is what it is said of: Relay.At.
	At netip.AddrPort
	// Lost is set while it does not answer there, and did before. Missed counts how often two checks in a
	// row were not answered: it may be lost a second later.
	Lost   bool
	Missed int
	// Unregistered counts the answers that the machine is not registered there.
	Unregistered int
	// ForgotAt is when it was found that the relay has lost its table of flows; zero for never. It changes
	// ever more rarely (firstForget).
	ForgotAt time.Time
	// Answers is one of Relay.Away that answers; invalid for none.
	Answers netip.AddrPort
}

// RelayProber checks the relays. The zero value is ready. It is for one goroutine.
type RelayProber struct {
	relays map[mesh.Key]*relayChecks
	keys   []mesh.Key
}

// relayChecks are those of one relay.
type relayChecks struct {
	Relay
	here  checks
	away  []checks
	state RelayState
	table Table
	// forgets is how often in a row the table was lost.
	forgets int
}

// checks are those of one endpoint.
type checks struct {
	at netip.AddrPort
	// open are the checks that are not answered, and sent is when the last was sent.
	open []checkID
	sent time.Time
	// answered counts the answers since the last check that was not answered.
	answered int
}

// Step returns what is to be sent now, and when the next step is due; zero for never.
func (p *RelayProber) Step(now time.Time, relays []Relay) (send []Send, next time.Time) {
	p.take(relays)
	used := slices.ContainsFunc(relays, func(r Relay) bool { return r.Used })
	for _, key := range p.keys {
		r := p.relays[key]
		var due time.Time
		send, due = r.step(now, used, send)
		next = when.Earlier(next, due)
	}
	return send, next
}

// take takes what has changed.
func (p *RelayProber) take(relays []Relay) {
	if len(relays) == len(p.keys) && !slices.ContainsFunc(relays, func(r Relay) bool {
		known := p.relays[r.Key]
		return known == nil || !known.same(&r)
	}) {
		return
	}
	before := p.relays
	p.relays, p.keys = map[mesh.Key]*relayChecks{}, nil
	for _, r := range relays {
		known := before[r.Key]
		if known == nil {
			known = &relayChecks{state: RelayState{Key: r.Key}}
		}
		known.become(r)
		p.relays[r.Key] = known
		p.keys = append(p.keys, r.Key)
	}
}

func (r *relayChecks) become(to Relay) {
	if r.here.at != to.At {
		r.here = checks{at: to.At}
		r.state.At, r.state.Lost, r.state.Unregistered = to.At, false, 0
	}
	r.Relay = to
	away := r.away
	r.away, r.state.Answers = nil, netip.AddrPort{}
	for _, e := range to.Away {
		i := slices.IndexFunc(away, func(c checks) bool { return c.at == e })
		if i < 0 {
			r.away = append(r.away, checks{at: e})
			continue
		}
		r.away = append(r.away, away[i])
	}
}

// step sends the checks of a relay that are due, and returns when the next is. Used is set while any relay
// carries peers.
func (r *relayChecks) step(now time.Time, used bool, send []Send) ([]Send, time.Time) {
	var next time.Time
	add := func(c *checks, pause func() time.Duration) {
		if !c.sent.Add(pause()).After(now) {
			send = append(send, c.send(now))
			if c == &r.here && c.answered > 0 && len(c.open) == 2 {
				r.state.Missed++
			}
		}
		next = when.Earlier(next, c.sent.Add(pause()))
	}
	if used || r.state.Lost {
		r.state.Lost = r.state.Lost || r.here.isLost(now)
		add(&r.here, r.pause)
	} else {
		r.here.open = nil
	}
	for i := range r.away {
		add(&r.away[i], func() time.Duration { return awayEvery })
	}
	return send, next
}

// send returns the next check.
func (c *checks) send(now time.Time) Send {
	if len(c.open) == missedChecks {
		c.open, c.answered = c.open[1:], 0
	}
	id := newCheckID()
	c.open, c.sent = append(c.open, id), now
	return Send{To: c.at, Payload: id.check()}
}

// pause returns how long after a check the next one follows.
func (r *relayChecks) pause() time.Duration {
	switch {
	case r.state.Lost:
		return restEvery
	case len(r.here.open) > 0 && r.here.answered > 0:
		return checkAgain
	case !r.Used:
		return restEvery
	default:
		return checkEvery
	}
}

// isLost reports whether the last checks were not answered, and one before was.
func (c *checks) isLost(now time.Time) bool {
	return c.answered > 0 && len(c.open) == missedChecks && now.Sub(c.sent) >= checkAgain
}

// Heard takes an answer to a check. It reports whether States has changed.
func (p *RelayProber) Heard(now time.Time, from netip.AddrPort, packet []byte) bool {
	a, ok := parseCheckAnswer(packet)
	if !ok {
		return false
	}
	for _, key := range p.keys {
		r := p.relays[key]
		before := r.state
		switch {
		case r.here.hear(from, a.id):
			r.hear(now, a)
			return r.state != before
		default:
			r.hearAway(from, a.id)
		}
		if r.state != before {
			return true
		}
	}
	return false
}

// hear takes an answer from where the relay is reached.
func (r *relayChecks) hear(now time.Time, a checkAnswer) {
	r.state.Lost = false
	switch {
	case r.table == a.table:
	case r.table == (Table{}):
		r.table = a.table
	case r.mayForget(now):
		r.table, r.state.ForgotAt = a.table, now
	}
	if !a.registered {
		r.state.Unregistered++
	}
}

// mayForget reports whether the relay is found to have lost its table now, and counts it.
func (r *relayChecks) mayForget(now time.Time) bool {
	since := now.Sub(r.state.ForgotAt)
	if since >= forgetRest {
		r.forgets = 0
	}
	if r.forgets > 0 && since < min(firstForget<<min(r.forgets-1, 10), lastForget) {
		return false
	}
	r.forgets++
	return true
}

// hearAway takes an answer from elsewhere.
func (r *relayChecks) hearAway(from netip.AddrPort, id checkID) {
	for i := range r.away {
		if c := &r.away[i]; c.hear(from, id) && c.answered >= awayChecks && !r.state.Answers.IsValid() {
			r.state.Answers = c.at
		}
	}
}

// hear reports whether an answer is to one of the checks.
func (c *checks) hear(from netip.AddrPort, id checkID) bool {
	if from != c.at || !slices.Contains(c.open, id) {
		return false
	}
	c.open = c.open[:0]
	c.answered++
	return true
}

// Hurry has the relay at an endpoint be checked at the next step.
func (p *RelayProber) Hurry(at netip.AddrPort) {
	for _, r := range p.relays {
		if r.here.at == at && len(r.here.open) == 0 {
			r.here.sent = time.Time{}
		}
	}
}

// States returns what checks have shown of the relays, in the order of the last Step.
func (p *RelayProber) States() []RelayState {
	states := make([]RelayState, len(p.keys))
	for i, key := range p.keys {
		states[i] = p.relays[key].state
	}
	return states
}
