package portmap_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/spanmesh/span/reconciler/portmap"
)

var (
	start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	want  = portmap.Want{Port: 51820, Gateway: netip.MustParseAddr("192.168.1.1"), Own: netip.MustParseAddr("192.168.1.5")}
	outer = netip.MustParseAddrPort("203.0.113.9:51820")
)

// newHeld returns a mapper whose gateway has mapped the port by NAT-PMP, for an hour.
func newHeld(t *testing.T) *portmap.Mapper {
	t.Helper()
	m := new(portmap.Mapper)
	m.Done(start, expect(t, m, start, want, portmap.Map, portmap.PCP), portmap.Answer{}, portmap.ErrNoAnswer)
	age := 1000 * time.Second
	m.Done(start, expect(t, m, start, want, portmap.Map, portmap.NATPMP), portmap.Answer{External: outer, Lifetime: time.Hour, Epoch: &age}, nil)
	_, faults := m.Faults()
	if h := m.Held(); h == nil || h.External != outer || len(faults) != 0 {
		t.Fatalf("it holds %+v, with the faults %v", h, faults)
	}
	return m
}

func expect(t *testing.T, m *portmap.Mapper, now time.Time, w portmap.Want, kind portmap.Kind, protocol portmap.Protocol) portmap.Call {
	t.Helper()
	call, _ := m.Step(now, w)
	if call == nil || call.Kind != kind || call.Protocol != protocol {
		t.Fatalf("the call is %+v, want kind %d by %s", call, kind, protocol)
	}
	if again, _ := m.Step(now, w); again != nil {
		t.Fatalf("a second call is under way: %+v", again)
	}
	return *call
}

// check answers a check two minutes later with an age of the gateway.
func check(t *testing.T, m *portmap.Mapper, age time.Duration) time.Time {
	t.Helper()
	_, due := m.Step(start, want)
	if due != start.Add(2*time.Minute) {
		t.Fatalf("the next step is at %v", due)
	}
	m.Done(due, expect(t, m, due, want, portmap.Check, portmap.NATPMP), portmap.Answer{External: outer, Epoch: &age}, nil)
	return due
}

func TestChecks(t *testing.T) {
	m := newHeld(t)
	now := check(t, m, 1120*time.Second)
	if call, next := m.Step(now, want); call != nil || next != now.Add(2*time.Minute) {
		t.Errorf("after a good check, the call is %+v, the next at %v", call, next)
	}
	m = newHeld(t)
	now = check(t, m, 5*time.Second) // it has started anew
	expect(t, m, now, want, portmap.Map, portmap.NATPMP)
}

func TestRenewsAtHalfLife(t *testing.T) {
	m := newHeld(t)
	half := start.Add(30 * time.Minute)
	m.Done(half, expect(t, m, half, want, portmap.Map, portmap.NATPMP), portmap.Answer{}, portmap.ErrNoAnswer)
	if _, next := m.Step(half, want); next != half.Add(2*time.Minute) || m.Held() == nil {
		t.Errorf("after a renewal without an answer it is checked at %v", next)
	}
	later := half.Add(15 * time.Minute)
	m.Done(later, expect(t, m, later, want, portmap.Map, portmap.NATPMP), portmap.Answer{}, portmap.ErrNoAnswer)
	end := start.Add(time.Hour)
	expect(t, m, end, want, portmap.Map, portmap.PCP)
	if m.Held() != nil {
		t.Error("it holds a mapping that has ended")
	}
}

func TestReleases(t *testing.T) {
	for name, other := range map[string]portmap.Want{
		"turned off":   {Gateway: want.Gateway, Own: want.Own},
		"another port": {Port: 1, Gateway: want.Gateway, Own: want.Own},
	} {
		m := newHeld(t)
		call := expect(t, m, start, other, portmap.Release, portmap.NATPMP)
		m.Done(start, call, portmap.Answer{}, portmap.ErrNoAnswer)
		if call.Port != want.Port || m.Held() != nil {
			t.Errorf("%s: %+v is released, %+v held", name, call, m.Held())
		}
	}
}

func TestAnotherNetwork(t *testing.T) {
	m, other := newHeld(t), want
	other.Network++
	expect(t, m, start, other, portmap.Map, portmap.NATPMP)
	m, other.Gateway = newHeld(t), netip.MustParseAddr("10.0.0.1")
	expect(t, m, start, other, portmap.Map, portmap.PCP)
}

// TestNoGatewayForNow keeps the gateway's mapping, which is the same one when the network is back.
func TestNoGatewayForNow(t *testing.T) {
	m := newHeld(t)
	if call, next := m.Step(start, portmap.Want{Port: want.Port}); call != nil || !next.IsZero() || m.Held() != nil {
		t.Errorf("without a gateway the call is %+v, the next at %v, held is %+v", call, next, m.Held())
	}
	if call := expect(t, m, start, want, portmap.Map, portmap.PCP); call.External.Port() != want.Port {
		t.Errorf("back again, it asks for %v", call.External)
	}
}

func TestRestores(t *testing.T) {
	held := portmap.Held{Protocol: portmap.NATPMP, Gateway: want.Gateway, Own: want.Own, Port: want.Port, External: outer, Until: start.Add(time.Minute)}
	none, other := portmap.Want{}, want
	other.Gateway = netip.MustParseAddr("10.0.0.1")
	for _, c := range []struct {
		name     string
		now      time.Time
		want     portmap.Want
		kind     portmap.Kind
		protocol portmap.Protocol
		external netip.AddrPort
	}{
		{"it is renewed by the same protocol", start, want, portmap.Map, portmap.NATPMP, outer},
		{"it is released where it was turned off meanwhile", start, none, portmap.Release, portmap.NATPMP, outer},
		{"at another gateway it is another one", start, other, portmap.Map, portmap.PCP, netip.AddrPortFrom(netip.Addr{}, want.Port)},
		{"one that has ended is made anew", held.Until, want, portmap.Map, portmap.PCP, netip.AddrPortFrom(netip.Addr{}, want.Port)},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := new(portmap.Mapper)
			m.Restore(c.now, held)
			if call := expect(t, m, c.now, c.want, c.kind, c.protocol); call.External != c.external {
				t.Errorf("it asks for %v, want %v", call.External, c.external)
			}
		})
	}
}

// TestUPnPIsTurnedOff releases what was mapped by it, and asks by the others.
func TestUPnPIsTurnedOff(t *testing.T) {
	m, by := new(portmap.Mapper), want
	by.UPnP = true
	for _, p := range []portmap.Protocol{portmap.PCP, portmap.NATPMP} {
		m.Done(start, expect(t, m, start, by, portmap.Map, p), portmap.Answer{}, portmap.ErrNoAnswer)
	}
	m.Done(start, expect(t, m, start, by, portmap.Map, portmap.UPnP), portmap.Answer{External: outer}, nil)
	m.Done(start, expect(t, m, start, want, portmap.Release, portmap.UPnP), portmap.Answer{}, nil)
	expect(t, m, start, want, portmap.Map, portmap.PCP)
}

func TestIPv6(t *testing.T) {
	m := new(portmap.Mapper)
	w := portmap.Want{Port: 51820, Gateway: netip.MustParseAddr("fe80::1%eth0"), Own: netip.MustParseAddr("2001:db8::5"), UPnP: true}
	m.Done(start, expect(t, m, start, w, portmap.Map, portmap.PCP), portmap.Answer{}, portmap.ErrNoAnswer)
	if call, next := m.Step(start, w); call != nil || next != start.Add(time.Minute) {
		t.Errorf("after PCP the call is %+v, the next at %v", call, next)
	}
}

// TestAsksForTheSamePort after the gateway has lost its mappings.
func TestAsksForTheSamePort(t *testing.T) {
	m := newHeld(t)
	now := start.Add(2 * time.Minute)
	m.Done(now, expect(t, m, now, want, portmap.Check, portmap.NATPMP), portmap.Answer{}, portmap.ErrForgotten)
	call := expect(t, m, now, want, portmap.Map, portmap.NATPMP)
	if call.External != outer {
		t.Errorf("it asks for %v", call.External)
	}
	moved := netip.MustParseAddrPort("203.0.113.10:40000")
	m.Done(now, call, portmap.Answer{External: moved}, nil)
	if h := m.Held(); h == nil || h.External != moved || !h.Until.IsZero() {
		t.Errorf("it holds %+v", h)
	}
	if _, next := m.Step(now, want); next != now.Add(2*time.Minute) {
		t.Errorf("one that never ends is looked at next at %v", next)
	}
}

func TestNonceIsHidden(t *testing.T) {
	call := portmap.Call{Nonce: portmap.Nonce{65, 66, 67}}
	for _, format := range []string{"%v", "%+v", "%s"} {
		if text := fmt.Sprintf(format, call); !strings.Contains(text, "(hidden)") || strings.Contains(text, "65") {
			t.Errorf("%s prints %s", format, text)
		}
	}
}

func TestBacksOff(t *testing.T) {
	m, want := new(portmap.Mapper), want
	want.UPnP = true
	now := start
	for _, pause := range []time.Duration{time.Minute, 2 * time.Minute, 4 * time.Minute} {
		for _, p := range []portmap.Protocol{portmap.PCP, portmap.NATPMP, portmap.UPnP} {
			m.Done(now, expect(t, m, now, want, portmap.Map, p), portmap.Answer{}, errors.New("refused"))
		}
		_, next := m.Step(now, want)
		if _, faults := m.Faults(); next != now.Add(pause) || len(faults) != 3 {
			t.Fatalf("the next round is %v later, the faults are %v", next.Sub(now), faults)
		}
		now = next
	}
}
