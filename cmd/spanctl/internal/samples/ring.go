package samples

import (
	"cmp"
	"iter"
	"slices"
	"time"

	"github.com/spanmesh/span/reconciler/peer"
)

// Span is a time, and the steps that it is divided into.
type Span struct {
	// Step is how long a step is, Steps how many there are.
	Step  time.Duration
	Steps int
}

// The spans.
var (
	Hour = Span{hourStep, hourSteps}
	Day  = Span{dayStep, daySteps}
)

const (
	hourStep, hourSteps = 30 * time.Second, 120
	dayStep, daySteps   = 10 * time.Minute, 144
	// blockSteps is how many steps memory is taken for at a time: an agent that has just started has few.
	blockSteps = 12
	// hoursInDay is how many steps of an hour are one of a day.
	hoursInDay = int64(dayStep / hourStep)
	// holds is how long what was read holds without another reading.
	holds = 90 * time.Second
	// kept is how long peers that have left are kept, and maxLeft how many of them.
	kept    = 24 * time.Hour
	maxLeft = 128
)

// Reading is what is known of a peer at a time.
type Reading struct {
	// Key identifies the peer, Name is what it is called.
	Key, Name string
	State     peer.State
	// RTT is the round-trip time; zero if it is not known.
	RTT time.Duration
	// Loss is the part of the recent echoes that were not answered, from 0 to 1.
	Loss      float64
	LossKnown bool
	// Received and Transmitted count bytes. They start again where they are less than before.
	Received, Transmitted uint64
}

// Sample is what was known of a peer in a step.
type Sample struct {
	// Begin is when the step began.
	Begin time.Duration
	// State is the worst of the step: down before unknown before up. It is empty if nothing is known.
	State peer.State
	// RTT is the round-trip time at the end of the step, or the mean of a step of a day; zero if it is
	// not known. Loss is likewise.
	RTT       time.Duration
	Loss      float64
	LossKnown bool
	// Received and Transmitted are the bytes of the step, to five digits.
	Received, Transmitted uint64
}

// Series is the samples of a peer, one for each step of a span.
type Series struct {
	Key, Name string
	Samples   []Sample
}

// Ring keeps the samples of all peers. The zero value has none.
type Ring struct {
	peers map[string]*series
	// at is the time of the last reading, turn its number.
	at   time.Duration
	turn uint64
}

// series has the samples of a peer.
type series struct {
	name string
	// seen is when and at which turn the peer was read last.
	seen   time.Duration
	seenAt uint64
	// received and transmitted count the bytes until seen.
	received, transmitted counter
	// present is what was read at the last turn, nothing of a peer that has left; next is the same
	// while a turn is taken in.
	present, next link
	// worst is the worst grade of the step under way.
	worst grade
	// hour and day are rings of the steps that have ended.
	hour [hourSteps / blockSteps]*block
	day  [daySteps / blockSteps]*block
}

// block has the records of some steps, which follow each other.
type block [blockSteps]record

// set sets the record at a place in a ring.
func set(ring []*block, at int64, r record) {
	b := &ring[at/blockSteps]
	if *b == nil {
		if r == (record{}) {
			return
		}
		*b = &block{}
	}
	(*b)[at%blockSteps] = r
}

// get returns the record at a place in a ring.
func get(ring []*block, at int64) record {
	if b := ring[at/blockSteps]; b != nil {
		return b[at%blockSteps]
	}
	return record{}
}

// counter counts the bytes of the step under way.
type counter struct {
	// last is what the peer's counter said.
	last uint64
	// more are the bytes since the reading before that are not in a step yet.
	more uint64
	// sum are those of the step under way.
	sum uint64
}

// count takes in what the peer's counter says.
func (c *counter) count(now uint64, spread bool) {
	c.more = 0
	if spread {
		c.more = now
		if now >= c.last {
			c.more = now - c.last
		}
	}
	c.last = now
}

// spend moves the part of more that belongs to some time, of the time that is left.
func (c *counter) spend(part, left time.Duration) {
	n := c.more
	if part < left {
		n = uint64(float64(n) * (float64(part) / float64(left)))
	}
	c.sum += n
	c.more -= n
}

// Add takes in what is known of the peers now. A time that is before the last one is left out.
func (r *Ring) Add(now time.Duration, peers iter.Seq[Reading]) {
	if r.peers == nil {
		r.peers, r.at = map[string]*series{}, now
	}
	if now < r.at {
		return
	}
	if now-r.at > kept {
		clear(r.peers)
		r.at = now
	}
	r.turn++
	known := now-r.at <= holds
	for p := range peers {
		s := r.peers[p.Key]
		if s == nil {
			s = &series{}
			r.peers[p.Key] = s
		}
		was := s.seenAt == r.turn-1 && s.seenAt > 0
		s.received.count(p.Received, known && was)
		s.transmitted.count(p.Transmitted, known && was)
		s.name, s.seen, s.seenAt, s.next = p.Name, now, r.turn, linkOf(&p)
	}
	r.pass(now, known)
	for _, s := range r.peers {
		s.present, s.next = s.next, link{}
		if now%hourStep == 0 {
			s.worst = unread // what held before ends with the step before
		}
		s.worst = max(s.worst, s.present.grade)
	}
	r.forget(now)
}

// pass ends the steps until now. What was read last holds until then if that is known.
func (r *Ring) pass(now time.Duration, known bool) {
	if !known {
		for _, s := range r.peers {
			s.present.grade = unread
		}
	}
	for {
		end := min((r.at/hourStep+1)*hourStep, now)
		for _, s := range r.peers {
			s.received.spend(end-r.at, now-r.at)
			s.transmitted.spend(end-r.at, now-r.at)
		}
		step := int64(r.at / hourStep)
		r.at = end
		if int64(end/hourStep) == step {
			return
		}
		for _, s := range r.peers {
			s.end(step)
		}
	}
}

// end ends a step.
func (s *series) end(step int64) {
	l := s.present
	l.grade = s.worst
	set(s.hour[:], step%hourSteps, recordOf(l, s.received.sum, s.transmitted.sum))
	s.received.sum, s.transmitted.sum, s.worst = 0, 0, s.present.grade
	if (step+1)%hoursInDay != 0 {
		return
	}
	var steps [hoursInDay]Sample
	for i := range steps {
		r := get(s.hour[:], (step-int64(i)+hourSteps)%hourSteps)
		steps[i] = r.sample(0)
	}
	set(s.day[:], step/hoursInDay%daySteps, merge(steps[:]))
}

// forget drops peers that have left long ago, and the first of those that are too many.
func (r *Ring) forget(now time.Duration) {
	type leaver struct {
		key  string
		seen time.Duration
	}
	var left []leaver
	for key, s := range r.peers {
		switch {
		case s.seenAt == r.turn:
		case now-s.seen > kept:
			delete(r.peers, key)
		default:
			left = append(left, leaver{key, s.seen})
		}
	}
	if len(left) <= maxLeft {
		return
	}
	slices.SortFunc(left, func(a, b leaver) int { return cmp.Or(cmp.Compare(a.seen, b.seen), cmp.Compare(a.key, b.key)) })
	for _, l := range left[:len(left)-maxLeft] {
		delete(r.peers, l.key)
	}
}

// Series returns the samples of the peers that want is true for, by name and key. They end with the last
// step that has ended when the peers were read last, unless that is long ago.
func (r *Ring) Series(now time.Duration, span Span, want func(key, name string) bool) []Series {
	var all []Series
	ended := int64(r.at / span.Step)
	end := max(ended, int64((now-holds)/span.Step))
	for key, s := range r.peers {
		if !want(key, s.name) {
			continue
		}
		records := s.hour[:]
		if span == Day {
			records = s.day[:]
		}
		out := Series{Key: key, Name: s.name, Samples: make([]Sample, 0, span.Steps)}
		for step := end - int64(span.Steps); step < end; step++ {
			at := Sample{Begin: time.Duration(step) * span.Step}
			if step >= 0 && step < ended {
				r := get(records, step%int64(span.Steps))
				at = r.sample(at.Begin)
			}
			out.Samples = append(out.Samples, at)
		}
		all = append(all, out)
	}
	slices.SortFunc(all, func(a, b Series) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Key, b.Key)) })
	return all
}
