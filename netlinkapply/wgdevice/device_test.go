package wgdevice

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/state"
)

// spaced is a format of texts with a space behind each network. It counts what is parsed.
func spaced(parsed *int) Format {
	return Format{
		Endpoint: func(raw []byte) (netip.AddrPort, error) {
			*parsed++
			return netip.ParseAddrPort(string(raw))
		},
		Networks: func(raw []byte) (all []netip.Prefix, err error) {
			*parsed++
			for _, text := range bytes.Fields(raw) {
				n, err := netip.ParsePrefix(string(text))
				if err != nil {
					return nil, err
				}
				all = append(all, n)
			}
			return all, nil
		},
	}
}

// given is a peer in a reading.
type given struct {
	key      byte
	endpoint string
	networks []string
	bytes    int64
}

func read(d *Device, f Format, peers ...given) error {
	d.Begin(f)
	for _, g := range peers {
		p, again, err := d.Peer(mesh.Key{g.key})
		if err != nil {
			return err
		}
		if !again {
			p.ReceiveBytes = g.bytes
		}
		if g.endpoint != "" {
			if err := d.Endpoint([]byte(g.endpoint)); err != nil {
				return err
			}
		}
		for _, n := range g.networks {
			if err := d.Networks([]byte(n + " ")); err != nil {
				return err
			}
		}
	}
	return d.End()
}

func TestReadings(t *testing.T) {
	one := given{key: 1, endpoint: "192.0.2.1:1", networks: []string{"10.0.0.0/24", "fd00::/64"}, bytes: 1}
	two := given{key: 2, endpoint: "192.0.2.2:2", networks: []string{"10.2.0.0/24"}}
	three := given{key: 3}
	with := func(g given, change func(*given)) given {
		g.networks = slices.Clone(g.networks)
		change(&g)
		return g
	}
	var d Device
	parsed := 0
	for _, c := range []struct {
		name string
		read []given
		// parsed is how often bytes are parsed.
		parsed int
		want   string
	}{
		{"two peers, not in order", []given{two, one}, 4, "1 192.0.2.1:1 [10.0.0.0/24 fd00::/64] 1; 2 192.0.2.2:2 [10.2.0.0/24] 0; "},
		{"the same", []given{two, one}, 0, "1 192.0.2.1:1 [10.0.0.0/24 fd00::/64] 1; 2 192.0.2.2:2 [10.2.0.0/24] 0; "},
		{"another order", []given{one, two}, 0, "1 192.0.2.1:1 [10.0.0.0/24 fd00::/64] 1; 2 192.0.2.2:2 [10.2.0.0/24] 0; "},
		{"a counter", []given{with(one, func(g *given) { g.bytes = 9 }), two}, 0, "1 192.0.2.1:1 [10.0.0.0/24 fd00::/64] 9; 2 192.0.2.2:2 [10.2.0.0/24] 0; "},
		{"another endpoint", []given{with(one, func(g *given) { g.endpoint = "192.0.2.1:12" }), two}, 1, "1 192.0.2.1:12 [10.0.0.0/24 fd00::/64] 1; 2 192.0.2.2:2 [10.2.0.0/24] 0; "},
		{"an endpoint that begins like the last", []given{one, two}, 1, "1 192.0.2.1:1 [10.0.0.0/24 fd00::/64] 1; 2 192.0.2.2:2 [10.2.0.0/24] 0; "},
		{"no endpoint", []given{with(one, func(g *given) { g.endpoint = "" }), two}, 0, "1 invalid AddrPort [10.0.0.0/24 fd00::/64] 1; 2 192.0.2.2:2 [10.2.0.0/24] 0; "},
		{"a network less", []given{with(one, func(g *given) { g.networks = g.networks[:1] }), two}, 2, "1 192.0.2.1:1 [10.0.0.0/24] 1; 2 192.0.2.2:2 [10.2.0.0/24] 0; "},
		{"networks in another order", []given{with(one, func(g *given) { slices.Reverse(g.networks) }), two}, 1, "1 192.0.2.1:1 [10.0.0.0/24 fd00::/64] 1; 2 192.0.2.2:2 [10.2.0.0/24] 0; "},
		{"in several parts", []given{
			with(one, func(g *given) { g.networks = g.networks[1:] }), two,
			{key: 1, networks: []string{"10.0.0.0/24"}}, {key: 2},
		}, 0, "1 192.0.2.1:1 [10.0.0.0/24 fd00::/64] 1; 2 192.0.2.2:2 [10.2.0.0/24] 0; "},
		{"no networks, not canonical ones", []given{with(one, func(g *given) { g.networks = nil }), with(two, func(g *given) { g.networks = []string{"10.2.0.9/24", "::ffff:10.1.0.0/112", "10.2.0.0/24"} })}, 1,
			"1 192.0.2.1:1 [] 1; 2 192.0.2.2:2 [10.1.0.0/16 10.2.0.0/24] 0; "},
		{"a peer more, one less", []given{three, two}, 1, "2 192.0.2.2:2 [10.2.0.0/24] 0; 3 invalid AddrPort [] 0; "},
		{"none", nil, 0, ""},
		{"all again", []given{three, one}, 2, "1 192.0.2.1:1 [10.0.0.0/24 fd00::/64] 1; 3 invalid AddrPort [] 0; "},
	} {
		parsed = 0
		if err := read(&d, spaced(&parsed), c.read...); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		got := ""
		for _, p := range d.Peers() {
			got += fmt.Sprintf("%d %v %v %d; ", p.PublicKey[0], p.Endpoint, p.AllowedIPs, p.ReceiveBytes)
		}
		if got != c.want || parsed != c.parsed {
			t.Errorf("%s: parsed %d times, want %d, and read\n%s, want\n%s", c.name, parsed, c.parsed, got, c.want)
		}
	}
}

// TestNothingOfAnotherReadingIsLeft has settings of the device and of a peer that the next reading
// does not have.
func TestNothingOfAnotherReadingIsLeft(t *testing.T) {
	var d Device
	parsed := 0
	d.Begin(spaced(&parsed))
	d.PrivateKey, d.ListenPort, d.FirewallMark = mesh.SecretKey([32]byte{1}), 2, 3
	p, _, err := d.Peer(mesh.Key{1})
	if err != nil {
		t.Fatal(err)
	}
	*p = state.Peer{PublicKey: p.PublicKey, PresharedKey: mesh.SecretKey([32]byte{1}), Keepalive: time.Second, LastHandshake: time.Unix(1, 0), ReceiveBytes: 1, TransmitBytes: 2}
	if err := d.End(); err != nil {
		t.Fatal(err)
	}
	if err := read(&d, spaced(&parsed), given{key: 1}); err != nil {
		t.Fatal(err)
	}
	want := []state.Peer{{PublicKey: mesh.Key{1}}}
	if diff := cmp.Diff(want, d.Peers(), cmpopts.EquateComparable(netip.AddrPort{}, mesh.PrivateKey{})); diff != "" || !d.PrivateKey.IsZero() || d.ListenPort != 0 || d.FirewallMark != 0 {
		t.Errorf("the device is %+v (-want +got):\n%s", d, diff)
	}
}

// TestFailedReadings has readings that end early or do not parse, which leave nothing.
func TestFailedReadings(t *testing.T) {
	parsed := 0
	f := spaced(&parsed)
	good := []given{{key: 1, endpoint: "192.0.2.1:1", networks: []string{"10.0.0.0/24"}}, {key: 2}}
	for name, fail := range map[string]func(*Device) error{
		"a bad endpoint": func(d *Device) error { return read(d, f, given{key: 1, endpoint: "x"}, given{key: 3}) },
		"a bad network":  func(d *Device) error { return read(d, f, given{key: 1, networks: []string{"x"}}, given{key: 3}) },
		"too many bytes": func(d *Device) error {
			return read(d, f, given{key: 1, networks: []string{string(make([]byte, maxRaw))}})
		},
		"ends early": func(d *Device) error {
			d.Begin(f)
			_, _, err := d.Peer(mesh.Key{9})
			return errors.Join(err, errors.New("interrupted"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			var d Device
			if err := read(&d, f, good...); err != nil {
				t.Fatal(err)
			}
			before := d.Peers()
			if err := fail(&d); err == nil || d.Peers() != nil {
				t.Errorf("%d peers, %v", len(d.Peers()), err)
			}
			if err := read(&d, f, good...); err != nil || len(d.Peers()) != 2 || len(d.at) != 2 {
				t.Errorf("afterwards: %d peers, %v", len(d.Peers()), err)
			}
			if len(before) != 2 || before[0].PublicKey != (mesh.Key{1}) || before[1].PublicKey != (mesh.Key{2}) {
				t.Errorf("the peers of before are %v", before)
			}
		})
	}
}

// TestFailedReadingsDoNotAddUp has other peers in each reading.
func TestFailedReadingsDoNotAddUp(t *testing.T) {
	var d Device
	for i := range 10 {
		d.Begin(Format{})
		if _, _, err := d.Peer(mesh.Key{byte(i)}); err != nil {
			t.Fatal(err)
		}
	}
	if len(d.at) != 1 || len(d.peers) != 1 {
		t.Errorf("%d peers are kept", len(d.at))
	}
}

func TestTooManyPeers(t *testing.T) {
	var d Device
	d.Begin(Format{})
	d.count = MaxPeers - 1
	if _, _, err := d.Peer(mesh.Key{1}); err != nil {
		t.Error(err)
	}
	if _, again, err := d.Peer(mesh.Key{1}); err != nil || !again {
		t.Errorf("more of the last one: %v", err)
	}
	if _, _, err := d.Peer(mesh.Key{2}); err == nil {
		t.Error("one more is no error")
	}
}

// TestRandomReadings compares a device that is read again and again with new ones.
func TestRandomReadings(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	parsed := 0
	var kept Device
	var old [][]state.Peer
	for range 500 {
		var peers []given
		for _, key := range random.Perm(6)[:random.IntN(7)] {
			g := given{key: byte(key), bytes: random.Int64N(3)}
			if random.IntN(4) > 0 {
				g.endpoint = fmt.Sprintf("192.0.2.1:%d", 1+random.IntN(12))
			}
			for range random.IntN(4) {
				g.networks = append(g.networks, fmt.Sprintf("10.%d.0.0/%d", random.IntN(3), 8+8*random.IntN(2)))
			}
			peers = append(peers, g)
		}
		var fresh Device
		if err := errors.Join(read(&kept, spaced(&parsed), peers...), read(&fresh, spaced(&parsed), peers...)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(fresh.Peers(), kept.Peers(), cmpopts.EquateComparable(netip.AddrPort{}, netip.Prefix{}, mesh.PrivateKey{}), cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("peers (-new +kept):\n%s", diff)
		}
		old = append(old, kept.Peers())
		for _, before := range old {
			if !slices.IsSortedFunc(before, func(a, b state.Peer) int { return a.PublicKey.Compare(b.PublicKey) }) {
				t.Fatal("an earlier list has another order")
			}
		}
	}
}
