package reconciler

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/spanmesh/span/reconciler/mesh"
)

func TestRelaysOfMembersAreChosen(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var offered []mesh.BlindRelay
	for i := range 5 {
		offered = append(offered, mesh.BlindRelay{Key: mesh.Key{byte(i)}, Name: fmt.Sprint(i)})
	}
	for _, c := range []struct {
		name string
		room int
		// answer are those that answer from the start, and want those that are chosen at the times.
		answer string
		// carry are those that carry packets.
		carry string
		want  map[time.Duration]string
	}{
		{"all answer", 3, "01234", "", map[time.Duration]string{0: "012", time.Hour: "012"}},
		{"a service has one", 2, "01234", "", map[time.Duration]string{0: "01"}},
		{"services have as many as there may be", 0, "01234", "", map[time.Duration]string{0: ""}},
		{"the first does not answer", 3, "1234", "", map[time.Duration]string{0: "012", offerTrial - 1: "012", offerTrial: "123",
			offerTrial + offerPause - 1: "123", offerTrial + offerPause: "012"}},
		{"one of the last carries packets, after an agent's restart", 3, "01234", "4", map[time.Duration]string{0: "0124"}},
		{"all carry packets", 1, "01234", "01234", map[time.Duration]string{0: "01"}},
		{"none answers", 3, "", "", map[time.Duration]string{0: "012", offerTrial: "34", 2 * offerTrial: ""}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var tries offerTries
			answers := func(k mesh.Key) bool { return slices.Contains([]byte(c.answer), '0'+k[0]) }
			carries := func(k mesh.Key) bool { return slices.Contains([]byte(c.carry), '0'+k[0]) }
			for at := time.Duration(0); at <= time.Hour; at += time.Second {
				var chosen []mesh.BlindRelay
				for _, moment := range []time.Duration{at - 1, at} {
					if moment < 0 {
						continue
					}
					chosen, tries = chooseOffers(start.Add(moment), c.room, offered, answers, carries, tries)
					names := ""
					for _, r := range chosen {
						names += r.Name
					}
					if want, is := c.want[moment]; is && names != want {
						t.Errorf("after %v: %q, want %q", moment, names, want)
					}
				}
			}
		})
	}
}

// TestMachinesShareARelay has machines each of which does not reach two of the relays.
func TestMachinesShareARelay(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var offered []mesh.BlindRelay
	for i := range 20 {
		offered = append(offered, mesh.BlindRelay{Key: mesh.Key{byte(i)}})
	}
	carries := func(mesh.Key) bool { return false }
	of := func(blocked ...byte) (chosen []mesh.BlindRelay) {
		var tries offerTries
		for at := time.Duration(0); at < 5*offerTrial; at += offerTrial {
			chosen, tries = chooseOffers(start.Add(at), mesh.MaxRegistered, offered, func(k mesh.Key) bool { return !slices.Contains(blocked, k[0]) }, carries, tries)
		}
		return chosen
	}
	for a := range byte(6) {
		for b := range byte(6) {
			for c := range byte(6) {
				first, second := of(a, b), of(c)
				if !slices.ContainsFunc(first, func(x mesh.BlindRelay) bool { return slices.ContainsFunc(second, x.Equal) }) {
					t.Errorf("one does not reach %d and %d, the other not %d: they share none", a, b, c)
				}
			}
		}
	}
}

func TestWhoIsAdmitted(t *testing.T) {
	of := func(key byte, version string) *mesh.Affiliate {
		return &mesh.Affiliate{Version: version, KubeSpan: mesh.KubeSpan{PublicKey: mesh.Key{key}}}
	}
	machines := []*mesh.Affiliate{of(1, "1.0"), of(2, ""), of(3, "1.0")}
	for _, complete := range []bool{false, true} {
		a := admit(machines, complete)
		if !slices.Equal(a.Members, []mesh.Key{{1}, {3}}) || !slices.Equal(a.WithoutAgent, []mesh.Key{{2}}) || a.Complete != complete {
			t.Errorf("admitted are %+v", a)
		}
	}
}
