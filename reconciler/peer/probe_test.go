package peer

import (
	"testing"
	"time"

	"github.com/spanmesh/span/reconciler/mesh"
)

// answering is a peer that is up and answered an echo at the start.
func answering(spec Spec) (Status, Observed) {
	seen := Observed{Present: true, Endpoint: one, LastHandshake: at(-1), ReceiveBytes: 100, TransmitBytes: 100, Replied: true, RTT: 20 * time.Millisecond}
	s, _ := Step(start, spec, Status{}, seen)
	seen.Replied, seen.RTT = false, 0
	return s, seen
}

// silentUntil steps a peer that stays silent, each half second from one time to another, or
// until it is not up.
func silentUntil(spec Spec, s Status, seen Observed, from, until time.Time) (Status, time.Time, int) {
	probes := 0
	for now := from; !now.After(until); now = now.Add(500 * time.Millisecond) {
		var do Action
		s, do = Step(now, spec, s, seen)
		spec.ProbeNow = false
		if do.Probe {
			probes++
		}
		if s.State != Up {
			return s, now, probes
		}
	}
	return s, time.Time{}, probes
}

func TestContestedOwnerIsProbedAtOnce(t *testing.T) {
	spec := Spec{ProbeNow: true, Contested: true}
	s, seen := answering(Spec{})
	if _, down, probes := silentUntil(spec, s, seen, at(1), at(60)); !down.Equal(at(4)) || probes < minEchoes {
		t.Errorf("it is down at %v after %d probes, want 3 s after the claim", down, probes)
	}
	t.Run("a series that has begun ends no later", func(t *testing.T) {
		began, _ := Step(at(1), Spec{NetworkChanged: true}, s, seen)
		began, _ = Step(at(2), Spec{}, began, seen)
		began, _ = Step(at(3), Spec{}, began, seen)
		if _, down, _ := silentUntil(spec, began, seen, at(4), at(60)); !down.Equal(at(6)) {
			t.Errorf("it is down at %v, want 5 s after the first probe", down)
		}
	})
	t.Run("a peer that answers no echo has WireGuard's time", func(t *testing.T) {
		s.echoes = false
		if _, down, _ := silentUntil(spec, s, seen, at(1), at(60)); !down.Equal(at(16)) {
			t.Errorf("it is down at %v, want after probeTimeout", down)
		}
	})
}

func TestFirewallThatBeganToDropEchoes(t *testing.T) {
	spec := Spec{IdleAfter: idleAfterInitiator, MayProbeIdle: true}
	s, seen := answering(spec)
	s, down, _ := silentUntil(spec, s, seen, at(1), at(60))
	if down.IsZero() {
		t.Fatal("it is not given up")
	}
	// Its WireGuard answers, ten seconds after the first echo.
	seen.ReceiveBytes += keepaliveSize
	now := down.Add(5 * time.Second)
	if s, _ = Step(now, spec, s, seen); s.State != Up {
		t.Fatalf("it is %s", s.State)
	}
	if _, again, _ := silentUntil(spec, s, seen, now, now.Add(probeAfter+10*time.Second)); !again.IsZero() {
		t.Errorf("it is given up again, %v later", again.Sub(now))
	}
}

func TestDisplacedPeer(t *testing.T) {
	var tracker Tracker
	list := specs(1, 2)
	in := Input{Specs: list, Observed: []Observed{upAt(1, one), {}}}
	in.Observed[1] = Observed{Key: mesh.Key{2}, Present: true, Endpoint: two}
	commit(t, &tracker, start, in)
	in.ProbeNow = map[mesh.Key]bool{{1}: true}
	commit(t, &tracker, at(1), in)
	// The machine at the endpoint has another key now.
	in.ProbeNow = nil
	in.Observed[1] = Observed{Key: mesh.Key{2}, Present: true, Endpoint: one, LastHandshake: at(2), ReceiveBytes: 92}
	commit(t, &tracker, at(2), in)
	commit(t, &tracker, at(3), in)
	if c := tracker.Connections(); c[0].IsUp() || !c[1].IsUp() {
		t.Errorf("the former is %s, the other %s", c[0].Status.State, c[1].Status.State)
	}
	// It comes back elsewhere.
	in.Observed[0].Endpoint, in.Observed[0].ReceiveBytes, in.Observed[0].LastHandshake = away, 200, at(4)
	commit(t, &tracker, at(4), in)
	if c := tracker.Connections(); !c[0].IsUp() {
		t.Errorf("after a handshake elsewhere it is %s", c[0].Status.State)
	}
}

func TestPeersWithoutKeepalives(t *testing.T) {
	spec := Spec{LeaveAtRest: true, IdleAfter: idleAfterInitiator, MeasureAfter: measureAfter, MayProbeIdle: true}
	s, seen := answering(spec)
	for second := 1; second < 3600; second += 2 {
		var do Action
		if s, do = Step(at(second), spec, s, seen); s.State != Up || do.Probe || second > 5 && do.Measure {
			t.Fatalf("at rest for %d s: %s, %+v", second, s.State, do)
		}
	}
	// This side sends: WireGuard begins a handshake, and has the time of its timers for it.
	seen.TransmitBytes += initiationSize
	if s, _ = Step(at(3601), spec, s, seen); s.State != Up {
		t.Fatalf("as soon as something is sent it is %s", s.State)
	}
	answered := seen
	answered.LastHandshake, answered.ReceiveBytes = at(3606), 192
	if s, _ := Step(at(3606), spec, s, answered); s.State != Up {
		t.Errorf("after the handshake it is %s", s.State)
	}
	if _, down, _ := silentUntil(spec, s, seen, at(3602), at(3700)); down.IsZero() || down.After(at(3620)) {
		t.Errorf("without an answer it is down at %v", down)
	}
}

// TestSuspendDuringProbes suspends a machine while it probes a peer.
func TestSuspendDuringProbes(t *testing.T) {
	s, seen := answering(Spec{})
	s, _, _ = silentUntil(Spec{NetworkChanged: true}, s, seen, at(1), at(1))
	s, down, _ := silentUntil(Spec{}, s, seen, at(2), at(4))
	if !down.IsZero() || !s.probing.active() {
		t.Fatal("no series of probes goes on")
	}
	s, do := Step(at(100), Spec{NetworkChanged: true}, s, seen)
	if s.State != Up || !do.Probe {
		t.Errorf("after the suspend: %s, %+v", s.State, do)
	}
}

func TestPaceOfALargeMesh(t *testing.T) {
	const count, seconds = 1000, 200
	var tracker Tracker
	in := Input{Self: mesh.Key{0, 1}}
	for i := range count {
		key := mesh.Key{byte(1 + i>>8), byte(i)}
		in.Specs = append(in.Specs, mesh.PeerSpec{PublicKey: key})
		in.Observed = append(in.Observed, Observed{Key: key, Present: true, Endpoint: one, ReceiveBytes: 100})
	}
	most, total := 0, map[mesh.Key]int{}
	for second := 0; second < seconds; second += 2 {
		for i := range in.Observed {
			in.Observed[i].LastHandshake = at(second)
		}
		next := tracker.Next(at(second), in)
		sent := 0
		for i := range next {
			in.Observed[i].Replied = next[i].Action.Probe || next[i].Action.Measure
			if in.Observed[i].Replied {
				in.Observed[i].ReceiveBytes += dataSize
				in.Observed[i].TransmitBytes += dataSize
				total[next[i].Key]++
				sent++
			}
		}
		tracker.Commit(next, nil)
		most = max(most, sent)
	}
	if limit := 2*(maxIdleRate+maxMeasureRate) + 1; most > limit {
		t.Errorf("%d echoes were sent after one reading, limit %d", most, limit)
	}
	for _, key := range []mesh.Key{in.Specs[0].PublicKey, in.Specs[count-1].PublicKey} {
		if n := total[key]; n < 3 || n > 12 {
			t.Errorf("peer %v was sent %d echoes in %d s", key, n, seconds)
		}
	}
}

// TestReadingAtRestAllocatesNothingPerPeer compares meshes of two sizes.
func TestReadingAtRestAllocatesNothingPerPeer(t *testing.T) {
	allocations := func(count byte) float64 {
		var tracker Tracker
		keys := make([]byte, count)
		for i := range keys {
			keys[i] = byte(i + 1)
		}
		in := Input{Specs: specs(keys...)}
		for _, k := range keys {
			in.Observed = append(in.Observed, upAt(k, one))
		}
		tracker.Commit(tracker.Next(start, in), nil)
		return testing.AllocsPerRun(10, func() { tracker.Next(at(1), in) })
	}
	if few, many := allocations(10), allocations(200); many > few {
		t.Errorf("%v allocations for 10 peers, %v for 200", few, many)
	}
}

// TestRTT follows RFC 6298, section 2.
func TestRTT(t *testing.T) {
	var r RTT
	r.add(100 * time.Millisecond)
	if want := (RTT{100 * time.Millisecond, 100 * time.Millisecond, 50 * time.Millisecond}); r != want {
		t.Errorf("after the first sample: %+v", r)
	}
	r.add(180 * time.Millisecond)
	if want := (RTT{180 * time.Millisecond, 110 * time.Millisecond, 57500 * time.Microsecond}); r != want {
		t.Errorf("after the second: %+v", r)
	}
}
