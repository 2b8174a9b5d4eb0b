package peer

import (
	"testing"
	"time"
)

// TestLossyPathDoesNotFlap has peers on a path that loses a tenth of all packets in each
// direction and delays them by up to 120 ms. None may go down in three hours, eight times.
func TestLossyPathDoesNotFlap(t *testing.T) {
	for _, c := range []struct {
		name    string
		prepare func(*path)
	}{
		{"at rest", func(*path) {}},
		{"data and answers", func(p *path) { p.every(time.Second, p.sides[0], true) }},
		{"data one way", func(p *path) { p.every(time.Second, p.sides[1], false) }},
		{"rare data", func(p *path) { p.every(40*time.Second, p.sides[1], true) }},
		{"a firewall drops echoes", func(p *path) { p.sides[0].mute, p.sides[1].mute = true, true }},
		{"one firewall drops echoes, data one way", func(p *path) {
			p.sides[0].mute = true
			p.every(time.Second, p.sides[1], false)
		}},
		{"contested", func(p *path) { p.sides[0].spec.Contested = true }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(8) {
				p := newPath(seed, 0.1)
				c.prepare(p)
				p.run(3 * time.Hour)
				for i, s := range p.sides {
					if len(s.flaps) > 0 || s.status.State != Up {
						t.Errorf("run %d: side %d was down after %v", seed, i, s.flaps[0].Sub(start))
					}
				}
			}
		})
	}
}

// TestDeadPeerIsNoticed has one of two machines lose its power.
func TestDeadPeerIsNoticed(t *testing.T) {
	for _, c := range []struct {
		name    string
		limit   time.Duration
		prepare func(*path)
	}{
		{"at rest", 20 * time.Second, func(*path) {}},
		{"data and answers", 10 * time.Second, func(p *path) { p.every(time.Second, p.sides[0], true); p.every(time.Second, p.sides[1], true) }},
		{"data one way", 13 * time.Second, func(p *path) { p.every(time.Second, p.sides[0], false); p.every(time.Second, p.sides[1], false) }},
		{"contested", 10 * time.Second, func(p *path) { p.sides[0].spec.Contested, p.sides[1].spec.Contested = true, true }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var worst time.Duration
			for seed := range uint64(200) {
				p := newPath(seed, 0)
				c.prepare(p)
				p.run(time.Minute + time.Duration(p.random.Int64N(int64(10*time.Minute))))
				died, survivor := p.sides[seed%2], p.sides[1-seed%2]
				died.dead = true
				at := p.now
				for survivor.status.State == Up && p.now.Sub(at) < time.Minute {
					p.run(50 * time.Millisecond)
				}
				worst = max(worst, p.now.Sub(at))
			}
			if worst > c.limit {
				t.Errorf("noticed after up to %v, limit %v", worst, c.limit)
			}
			t.Logf("at most %v", worst)
		})
	}
}

// TestProbesCostNothingWhileDataFlows counts echoes of an hour.
func TestProbesCostNothingWhileDataFlows(t *testing.T) {
	for _, c := range []struct {
		name    string
		most    int
		prepare func(*path)
	}{
		{"data and answers: those that measure", 121, func(p *path) { p.every(time.Second, p.sides[0], true) }},
		{"keepalives off, at rest: those after the session began", 1, func(p *path) { p.sides[0].spec.LeaveAtRest, p.sides[1].spec.LeaveAtRest = true, true }},
		{"at rest: one of both sides", 520, func(*path) {}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPath(1, 0)
			c.prepare(p)
			p.run(time.Hour)
			for i, s := range p.sides {
				if s.echoes > c.most || s.status.State != Up {
					t.Errorf("side %d has sent %d echoes, and the other is %s", i, s.echoes, s.status.State)
				}
			}
		})
	}
}
