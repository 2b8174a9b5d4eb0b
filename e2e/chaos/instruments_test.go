package chaos

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/spanmesh/span/e2e/internal/harness"
	"github.com/spanmesh/span/e2e/internal/walk"
	"github.com/spanmesh/span/e2e/lab"
)

// TestInstruments has two machines without a mesh send canaries to each other, which are in clear.
func TestInstruments(t *testing.T) {
	t.Parallel()
	l, err := lab.NewOn("", "", netip.MustParsePrefix("172.21.0.0/24"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	const canary = "a-canary-of-the-instruments."
	var beacons []*beacon
	var addresses []netip.Addr
	for _, name := range []string{"one", "two"} {
		n, err := l.AddNode(name)
		if err != nil {
			t.Fatal(err)
		}
		b, err := startBeacon(harness.NewMachine(t, n, ""), canary)
		if err != nil {
			t.Fatal(err)
		}
		beacons, addresses = append(beacons, b), append(addresses, n.Address)
	}
	c, err := startCapture(canary, "a-spoken-text.")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.close(); err != nil {
			t.Error(err)
		}
	})
	if frames, err := c.inClear(); frames != "" || err != nil || c.hasHeard() {
		t.Errorf("before anything is sent: %q, %v", frames, err)
	}
	nobody := netip.MustParseAddr("172.21.0.99")
	missing, err := beacons[0].reach(500*time.Millisecond, []netip.Addr{addresses[1], nobody})
	if err != nil || len(missing) != 1 || missing[0] != nobody.String() {
		t.Errorf("not reached are %v, %v", missing, err)
	}
	await(t, "a canary in clear", func() bool {
		frames, err := c.inClear()
		return err == nil && strings.Contains(frames, addresses[0].String()+" to "+addresses[1].String())
	})
	if err := beacons[1].say(addresses[0], "a-spoken-text."); err != nil {
		t.Error(err)
	}
	await(t, "the spoken text", c.hasHeard)

	if err := beacons[1].stream(addresses[:1]); err != nil {
		t.Error(err)
	}
	for range 3 {
		await(t, "a stream", func() bool {
			frames, err := c.inClear()
			return err == nil && strings.Contains(frames, addresses[1].String()+" to "+addresses[0].String())
		})
	}
}

// await waits until something holds.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(harness.Patience); !holds(); <-time.After(lookPause / 10) {
		if time.Now().After(deadline) {
			t.Fatalf("%s was not seen", what)
		}
	}
}

func TestCompare(t *testing.T) {
	t.Parallel()
	var first *usage
	at := func(seconds, pid, descriptors, goroutines, memory int) usage {
		return usage{time.Unix(int64(seconds), 0), 0, pid, descriptors, goroutines, memory}
	}
	for _, c := range []struct {
		name string
		now  usage
		want string
	}{
		{"the first look", at(0, 1, 10, 20, 1<<20), ""},
		{"more, before it has settled", at(59, 1, 20, 30, 10<<20), ""},
		{"less, before it has settled", at(59, 1, 1, 1, 1), ""},
		{"as much more as it may", at(60, 1, 28, 40, 18<<20), ""},
		{"too many descriptors", at(70, 1, 29, 30, 0), "descriptors"},
		{"too many goroutines", at(70, 1, 20, 41, 0), "goroutines"},
		{"too much memory", at(70, 1, 20, 30, 18<<20+1), "memory"},
		{"another process", at(71, 2, 90, 90, 90<<20), ""},
		{"all of that process", at(131, 2, 100, 101, 99<<20), "descriptors goroutines memory"},
	} {
		if first != nil && first.pid == c.now.pid && c.now.at.Sub(first.at) >= settling {
			first.looks = leastLooks
		}
		var got []string
		for _, p := range compare("it", &first, c.now) {
			got = append(got, p.invariant)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %v, want %q", c.name, got, c.want)
		}
	}
}

func TestFewLooksAreNoMeasure(t *testing.T) {
	t.Parallel()
	first := &usage{at: time.Unix(0, 0), pid: 1, descriptors: 10}
	now := usage{at: time.Unix(1000, 0), pid: 1, descriptors: 30}
	for look := range leastLooks - 1 {
		if found := compare("it", &first, now); len(found) > 0 {
			t.Errorf("look %d: %v", look, found)
		}
	}
	now.descriptors = 39
	if found := compare("it", &first, now); len(found) != 1 {
		t.Errorf("at last: %v", found)
	}
}

func TestEachActionIsDrawn(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, s := range walk.Generate(1, 2000, drawn(), machines) {
		seen[s.Action] = true
	}
	for name, a := range actions {
		if !seen[name] || a.weight < 1 || a.do == nil {
			t.Errorf("%s is never drawn, or does nothing", name)
		}
	}
}
