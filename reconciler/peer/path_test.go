package peer

import (
	"math/rand/v2"
	"slices"
	"time"
)

// path simulates two machines and the path between them: WireGuard's counters, timers and
// handshakes, echoes, and readings that are as far apart as NextCheck returns.
type path struct {
	now    time.Time
	random *rand.Rand
	// loss is the share of packets that are lost in each direction.
	loss float64
	// delay and jitter are those of each direction.
	delay, jitter time.Duration
	sides         [2]*side
	events        []event
}

type event struct {
	at time.Time
	do func()
}

// side is one of the machines.
type side struct {
	spec   Spec
	status Status
	seen   Observed
	// dead is set when the machine has lost its power.
	dead bool
	// mute is set when its firewall drops echoes.
	mute bool
	// shut is set when nothing leaves the machine, and uncounted when WireGuard knows.
	shut, uncounted bool
	// sending has the times of WireGuard's timers.
	lastSent, lastGot, dataGot, dataSent, initiated time.Time
	// echoes counts the echoes that it has sent.
	echoes int
	// flaps are when it was no longer up.
	flaps []time.Time
	other *side
}

const (
	dataSize     = 96
	responseSize = 92
)

// newPath returns a path between two machines with a fresh session.
func newPath(seed uint64, loss float64) *path {
	p := &path{now: start, random: rand.New(rand.NewPCG(seed, 1)), loss: loss, delay: 20 * time.Millisecond, jitter: 100 * time.Millisecond}
	for i := range p.sides {
		idle := idleAfterOther
		if i == 0 {
			idle = idleAfterInitiator
		}
		p.sides[i] = &side{spec: Spec{Initiator: i == 0, IdleAfter: idle, MeasureAfter: measureAfter, MayProbeIdle: true},
			seen: Observed{Present: true, Endpoint: one, LastHandshake: start, ReceiveBytes: responseSize, TransmitBytes: initiationSize}}
	}
	p.sides[0].other, p.sides[1].other = p.sides[1], p.sides[0]
	for _, s := range p.sides {
		p.after(time.Duration(p.random.Int64N(int64(time.Second))), func() { p.read(s) })
		p.after(time.Second, func() { p.timers(s) })
	}
	return p
}

func (p *path) after(d time.Duration, do func()) {
	e := event{p.now.Add(d), do}
	i, _ := slices.BinarySearchFunc(p.events, e, func(a, b event) int {
		if a.at.After(b.at) {
			return 1
		}
		return -1
	})
	p.events = slices.Insert(p.events, i, e)
}

// run advances the time.
func (p *path) run(d time.Duration) {
	end := p.now.Add(d)
	for p.events[0].at.Before(end) {
		e := p.events[0]
		p.events = p.events[1:]
		p.now = e.at
		e.do()
	}
	p.now = end
}

// send sends a packet; got runs if it arrives.
func (p *path) send(from *side, size int64, got func()) {
	if from.dead {
		return
	}
	if !from.shut || !from.uncounted {
		from.seen.TransmitBytes += size
	}
	from.lastSent = p.now
	if from.shut || p.random.Float64() < p.loss {
		return
	}
	p.after(p.delay+time.Duration(p.random.Int64N(int64(p.jitter))), func() {
		if to := from.other; !to.dead {
			to.seen.ReceiveBytes += size
			to.lastGot = p.now
			got()
		}
	})
}

// data sends data, if there is a session.
func (p *path) data(from *side, got func()) {
	age := p.now.Sub(from.seen.LastHandshake)
	if age >= 120*time.Second && (from.spec.Initiator || age >= RejectAfterTime) {
		p.initiate(from)
	}
	if age >= RejectAfterTime {
		return
	}
	if !from.dataSent.After(from.lastGot) {
		from.dataSent = p.now
	}
	p.send(from, dataSize, func() {
		if to := from.other; !to.dataGot.After(to.lastSent) {
			to.dataGot = p.now
		}
		got()
	})
}

// echo sends an echo.
func (p *path) echo(from *side) {
	from.echoes++
	sent := p.now
	p.data(from, func() {
		if from.other.mute {
			return
		}
		p.data(from.other, func() {
			from.seen.Replied, from.seen.RTT = true, p.now.Sub(sent)
		})
	})
}

func (p *path) initiate(from *side) {
	if p.now.Sub(from.initiated) < rekeyTimeout {
		return
	}
	from.initiated = p.now
	p.send(from, initiationSize, func() {
		p.send(from.other, responseSize, func() {
			from.seen.LastHandshake, from.other.seen.LastHandshake = p.now, p.now
		})
	})
}

// timers are those of WireGuard, each second.
func (p *path) timers(s *side) {
	p.after(time.Second, func() { p.timers(s) })
	if s.dead {
		return
	}
	if s.dataGot.After(s.lastSent) && p.now.Sub(s.dataGot) >= keepaliveTimeout {
		p.send(s, keepaliveSize, func() {})
	}
	if s.dataSent.After(s.lastGot) && p.now.Sub(s.dataSent) >= keepaliveTimeout+rekeyTimeout {
		p.initiate(s)
	}
	if !s.spec.LeaveAtRest && p.now.Sub(s.lastSent) >= 25*time.Second && p.now.Sub(s.lastGot) >= 25*time.Second {
		p.send(s, keepaliveSize, func() {})
	}
}

// read reads WireGuard's peer, and does what follows.
func (p *path) read(s *side) {
	if s.dead {
		return
	}
	was := s.status.State
	var do Action
	s.status, do = Step(p.now, s.spec, s.status, s.seen)
	s.seen.Replied = false
	if was == Up && s.status.State != Up {
		s.flaps = append(s.flaps, p.now)
	}
	if do.Probe || do.Measure {
		p.echo(s)
	}
	p.after(checkAt(p.now, s.status), func() { p.read(s) })
}

// every sends data from a side each interval, answered or not.
func (p *path) every(interval time.Duration, from *side, answered bool) {
	p.after(interval, func() { p.every(interval, from, answered) })
	p.data(from, func() {
		if answered {
			p.data(from.other, func() {})
		}
	})
}
