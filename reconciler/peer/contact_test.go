package peer

import (
	"net/netip"
	"slices"
	"testing"
	"time"
)

// contactOf steps a peer with two endpoints once a second. Seen changes what WireGuard shows.
func contactOf(seconds int, endpoints []netip.AddrPort, seen func(second int, o *Observed)) Status {
	var s Status
	o := Observed{Present: true}
	for second := range seconds {
		seen(second, &o)
		var do Action
		if s, do = Step(at(second), Spec{Endpoints: endpoints, Initiator: true}, s, o); do.Endpoint.IsValid() {
			o.Endpoint = do.Endpoint
		}
	}
	return s
}

// initiating has WireGuard send an initiation every 5 seconds.
func initiating(second int, o *Observed) {
	if second%5 == 1 {
		o.TransmitBytes += initiationSize
	}
}

func TestContactWithAPeerThatDoesNotAnswer(t *testing.T) {
	s := contactOf(60, []netip.AddrPort{one, two}, initiating)
	if c := s.Contact; c.Initiations != 12 || c.SentBytes != 12*initiationSize || c.Calls != 0 || !c.Exhausted || !s.HeardAt.IsZero() || !s.UpSince.IsZero() {
		t.Errorf("the status is %+v", s)
	}
	if s := contactOf(4, []netip.AddrPort{one, two}, initiating); s.Contact.Exhausted {
		t.Error("every endpoint counts as tried while one is left")
	}
}

// TestContactAfterARestart has counters that another process left.
func TestContactAfterARestart(t *testing.T) {
	s := contactOf(1, []netip.AddrPort{one}, func(_ int, o *Observed) {
		o.Endpoint, o.ReceiveBytes, o.TransmitBytes = one, 148000, 148000
	})
	if s.Contact.SentBytes != 0 || s.Contact.Calls != 0 || !s.HeardAt.IsZero() {
		t.Errorf("the status is %+v", s)
	}
}

func TestContactWithAPeerThatCalls(t *testing.T) {
	s := contactOf(60, []netip.AddrPort{one}, func(second int, o *Observed) {
		initiating(second, o)
		if second > 0 && second%10 == 0 {
			o.ReceiveBytes += initiationSize
			o.TransmitBytes += 92 // the answer (WireGuard paper, section 5.4.3)
		}
	})
	if c := s.Contact; c.Calls != 5 || !c.LastCall.Equal(at(50)) || c.Initiations != 12 || !s.HeardAt.Time().Equal(at(50)) {
		t.Errorf("the status is %+v", s)
	}
}

// TestContactIsOverOnceThePeerIsUp has a peer that is up twice, until a probe is not answered.
func TestContactIsOverOnceThePeerIsUp(t *testing.T) {
	s := contactOf(1200, []netip.AddrPort{one}, func(second int, o *Observed) {
		initiating(second, o)
		if second == 30 || second == 700 {
			o.LastHandshake = at(second)
			o.ReceiveBytes += 92
		}
	})
	if !s.UpSince.Time().Equal(at(700)) || !slices.Equal(s.Downs, []time.Time{at(80), at(750)}) || s.Contact.Initiations != 90 {
		t.Errorf("up since %v, down at %v, %d initiations", s.UpSince.Time(), s.Downs, s.Contact.Initiations)
	}
	moved := s.Shift(time.Hour)
	if !moved.Downs[0].Equal(at(80).Add(time.Hour)) || !s.Downs[0].Equal(at(80)) {
		t.Errorf("after a step of the clock, it was down at %v; before at %v", moved.Downs, s.Downs)
	}
}

func TestOwnNetworkMakesNoFlap(t *testing.T) {
	up := Status{State: Up, Endpoint: one, LastUsedEndpoint: one, LastHandshake: start, LastUp: InstantOf(start), readAt: InstantOf(start)}
	spec := Spec{Endpoints: []netip.AddrPort{one}, NetworkChanged: true}
	seen := Observed{Present: true, Endpoint: one, LastHandshake: start}
	if s, _ := Step(start.Add(time.Hour), spec, up, seen); s.State == Up || len(s.Downs) != 0 {
		t.Errorf("after this machine was suspended: %s, down at %v", s.State, s.Downs)
	}
	spec.NetworkChanged = false
	for i := range keptDowns + 2 {
		s, _ := Step(at(1000+i), spec, up, seen)
		up.Downs = s.Downs
	}
	if len(up.Downs) != keptDowns || !up.Downs[0].Equal(at(1002)) {
		t.Errorf("down at %v", up.Downs)
	}
}

func TestLoss(t *testing.T) {
	for _, c := range []struct {
		name     string
		loss     float64
		low, top float64
		mute     bool
	}{
		{"no packet is lost", 0, 0, 0, false},
		{"a tenth of the packets is lost either way", 0.1, 5, 40, false},
		{"a firewall drops echoes", 0, -1, -1, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPath(1, c.loss)
			p.sides[1].mute = c.mute
			p.run(3 * time.Hour)
			s := &p.sides[0].status
			loss, known := s.Loss(p.now)
			if !known {
				loss = -1
			}
			if loss < c.low || loss > c.top {
				t.Errorf("the loss is %v %%", loss)
			}
			if e := s.Echoes; e.Sent != int64(p.sides[0].echoes) || e.Answered > e.Sent || c.loss == 0 && !c.mute && e.Sent-e.Answered > 1 {
				t.Errorf("%d echoes were sent, and the status is %+v", p.sides[0].echoes, e)
			}
		})
	}
}

// TestLossIsThatOfThePresentPath has a peer that was down.
func TestLossIsThatOfThePresentPath(t *testing.T) {
	s := Status{State: Up, echoes: true}
	for range 9 {
		s.Echoes.noteSent()
	}
	if loss, known := s.Loss(start); !known || loss != 100 {
		t.Errorf("the loss is %v, %v", loss, known)
	}
	s.Echoes.noteAnswer() // to the last
	s.Echoes.noteAnswer() // to the one before, late
	if loss, _ := s.Loss(start); loss != 100*7./9 {
		t.Errorf("the loss is %v", loss)
	}
	s.noteDown(start, false)
	if _, known := s.Loss(start); known {
		t.Error("the loss before the peer went down is that of now")
	}
}

// TestEchoesOfATrialAreNoLoss has a peer that was unknown to the other machine for a while: the echo of
// a trial is lost, and the handshake comes from the other side.
func TestEchoesOfATrialAreNoLoss(t *testing.T) {
	spec := Spec{Endpoints: []netip.AddrPort{one, two}, MayProbeIdle: true, MeasureAfter: time.Second}
	s := Status{State: Down, echoes: true, Endpoint: one, LastUsedEndpoint: one, LastEndpointChange: at(0), LastHandshake: at(0), LastUp: InstantOf(at(1)), readAt: InstantOf(at(1))}
	seen := Observed{Present: true, Endpoint: one, LastHandshake: at(0)}
	s, do := Step(at(100), spec, s, seen)
	if !do.Probe || do.Endpoint != two {
		t.Fatalf("the action is %+v", do)
	}
	seen.Endpoint, seen.LastHandshake, seen.ReceiveBytes = two, at(101), initiationSize
	s, do = Step(at(101), spec, s, seen)
	if s.State != Up {
		t.Fatalf("the state is %s", s.State)
	}
	for second := 102; second < 110; second++ {
		seen.Replied = do.Measure || do.Probe
		s, do = Step(at(second), spec, s, seen)
		if loss, known := s.Loss(at(second)); known && loss != 0 {
			t.Errorf("after %d seconds the loss is %v %%", second-101, loss)
		}
	}
	if loss, known := s.Loss(at(110)); !known || loss != 0 {
		t.Errorf("in the end the loss is %v %%, %v", loss, known)
	}
	if e := s.Echoes; e.Sent-e.Answered > 2 {
		t.Errorf("the echoes are %+v", e)
	}
}

// TestNothingLeaves has a machine whose own packets are dropped, and whose peer goes on calling: it is
// to know within a minute, and not to take the calls for a peer that comes and goes.
func TestNothingLeaves(t *testing.T) {
	const limit, muteLimit = 50 * time.Second, 4 * time.Minute
	for _, c := range []struct {
		name    string
		limit   time.Duration
		prepare func(*path)
	}{
		{"at rest", limit, func(*path) {}},
		{"WireGuard's packets are refused", limit, func(p *path) { p.sides[0].uncounted, p.sides[1].uncounted = true, true }},
		{"the peer sends data", limit, func(p *path) { p.every(time.Second, p.sides[1], false); p.every(time.Second, p.sides[0], false) }},
		{"a firewall drops echoes", muteLimit, func(p *path) { p.sides[0].mute, p.sides[1].mute = true, true }},
		{"a firewall drops echoes, refused", muteLimit, func(p *path) {
			p.sides[0].mute, p.sides[1].mute = true, true
			p.sides[0].uncounted, p.sides[1].uncounted = true, true
		}},
		{"keepalives off, and data", muteLimit, func(p *path) {
			p.sides[0].spec.LeaveAtRest, p.sides[1].spec.LeaveAtRest = true, true
			p.every(time.Second, p.sides[0], false)
			p.every(time.Second, p.sides[1], false)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var worst time.Duration
			for seed := range uint64(60) {
				p := newPath(seed, 0)
				c.prepare(p)
				p.run(time.Minute + time.Duration(p.random.Int64N(int64(10*time.Minute))))
				shut := p.sides[seed%2]
				shut.shut = true
				at := p.now
				for (shut.status.State == Up || shut.status.Contact.Calls < minCalls) && p.now.Sub(at) < 10*time.Minute {
					p.run(50 * time.Millisecond)
				}
				worst = max(worst, p.now.Sub(at))
				p.run(10 * time.Minute)
				if s := &shut.status; s.State == Up || len(s.Downs) > 3 || p.now.Sub(s.Contact.LastCall) > 30*time.Second {
					t.Errorf("run %d: %s, down at %v, with %+v", seed, s.State, s.Downs, s.Contact)
				}
				shut.shut = false
				p.run(30 * time.Second)
				for i, s := range p.sides {
					if s.status.State != Up || s.status.Contact.Calls > 0 {
						t.Errorf("run %d: once it is mended, side %d is %s, with %+v", seed, i, s.status.State, s.status.Contact)
					}
				}
			}
			if worst > c.limit {
				t.Errorf("known after up to %v, limit %v", worst, c.limit)
			}
			t.Logf("at most %v", worst)
		})
	}
}

// TestLossy has the echoes of a path be lost, and then no longer.
func TestLossy(t *testing.T) {
	p := newPath(1, 0)
	p.run(10 * time.Minute)
	s := &p.sides[0].status
	if s.Lossy {
		t.Fatal("a path without loss is lossy")
	}
	p.loss = 0.3
	await := func(lossy bool, limit time.Duration) {
		t.Helper()
		from := p.now
		for s.Lossy != lossy && p.now.Sub(from) < limit {
			p.run(time.Second)
		}
		if s.Lossy != lossy {
			t.Errorf("after %v, lossy is %v with %d %%", limit, s.Lossy, s.RecentLoss())
		}
	}
	await(true, 3*time.Minute)
	p.loss = 0
	await(false, 3*time.Minute)
}

func TestRTTOfEchoesThatWaited(t *testing.T) {
	far := RTT{Last: 600 * time.Millisecond, Smoothed: 600 * time.Millisecond}
	for _, c := range []struct {
		name   string
		before RTT
		sample time.Duration
		queued bool
		want   bool
	}{
		{"near", RTT{}, time.Millisecond, false, true},
		{"near, after a handshake", RTT{}, 20 * time.Millisecond, true, true},
		{"waited for a handshake", RTT{}, 775 * time.Millisecond, true, false},
		{"far away", RTT{}, 775 * time.Millisecond, false, true},
		{"far away, after a handshake", far, 775 * time.Millisecond, true, true},
		{"waited out an outage", far, 4400 * time.Millisecond, false, false},
		{"not known", far, 0, false, false},
	} {
		if got := c.before.plausible(c.sample, c.queued); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}
