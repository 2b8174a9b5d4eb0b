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
	if c := s.Contact; c.Calls != 5 || !c.LastCall.Equal(at(50)) || c.Initiations != 12 || !s.HeardAt.Equal(at(50)) {
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
	if !s.UpSince.Equal(at(700)) || !slices.Equal(s.Downs, []time.Time{at(80), at(750)}) || s.Contact.Initiations != 90 {
		t.Errorf("up since %v, down at %v, %d initiations", s.UpSince, s.Downs, s.Contact.Initiations)
	}
	moved := s.Shift(time.Hour)
	if !moved.Downs[0].Equal(at(80).Add(time.Hour)) || !s.Downs[0].Equal(at(80)) {
		t.Errorf("after a step of the clock, it was down at %v; before at %v", moved.Downs, s.Downs)
	}
}

func TestOwnNetworkMakesNoFlap(t *testing.T) {
	up := Status{State: Up, Endpoint: one, LastUsedEndpoint: one, LastHandshake: start, LastUp: start, readAt: start}
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
	s := Status{State: Down, echoes: true, Endpoint: one, LastUsedEndpoint: one, LastEndpointChange: at(0), LastHandshake: at(0), LastUp: at(1), readAt: at(1)}
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
