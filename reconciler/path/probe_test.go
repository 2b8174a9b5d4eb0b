package path

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net/netip"
	"testing"

	"github.com/spanmesh/span/reconciler/mesh"
)

// identityOf returns the identity of a machine with a private key that repeats a byte.
func identityOf(t testing.TB, b byte) Identity {
	t.Helper()
	private, err := mesh.NewPrivateKey(bytes.NewReader(bytes.Repeat([]byte{b}, mesh.KeySize)))
	if err != nil {
		t.Fatal(err)
	}
	i, err := NewIdentity(private)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func secretOf(t testing.TB, own, peer Identity) *Secret {
	t.Helper()
	s, err := own.SecretWith(peer.key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var (
	anID   = ID{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}
	aPlace = netip.MustParseAddrPort("203.0.113.9:40000")
)

func TestSealAndOpen(t *testing.T) {
	a, b := identityOf(t, 1), identityOf(t, 2)
	ours, theirs := secretOf(t, a, b), secretOf(t, b, a)
	for _, want := range []Probe{{Kind: Ping, ID: anID}, {Kind: Ping, ID: anID, Used: true}, {Kind: Pong, ID: anID, Seen: aPlace}, {Kind: Pong, ID: anID, Seen: netip.MustParseAddrPort("[2001:db8::9]:1")}} {
		m := ours.Seal(want)
		if got, ok := theirs.Open(m[:]); !ok || got != want {
			t.Errorf("%+v is opened as %+v, %v", want, got, ok)
		}
		if _, ok := ours.Open(m[:]); ok {
			t.Errorf("%+v is taken by its sender", want)
		}
	}
}

// TestLayout has a probe whose bytes another program made by the description.
func TestLayout(t *testing.T) {
	m := secretOf(t, identityOf(t, 1), identityOf(t, 2)).Seal(Probe{Kind: Pong, ID: anID, Seen: aPlace})
	const want = "53706e01020000000af56ed3bd8e7c420102030405060708090a0b0c" + "00000000000000000000ffffcb0071099c400000afa97fa10a992cc6d13f8d77cfe38385"
	if got := hex.EncodeToString(m[:]); got != want {
		t.Errorf("the probe is\n%s, want\n%s", got, want)
	}
}

// TestChangedProbe changes each byte of a probe, and its size.
func TestChangedProbe(t *testing.T) {
	a, b := identityOf(t, 1), identityOf(t, 2)
	ours, theirs := secretOf(t, a, b), secretOf(t, b, a)
	m := ours.Seal(Probe{Kind: Ping, ID: anID})
	for i := range m {
		changed := m
		changed[i]++
		if p, ok := theirs.Open(changed[:]); ok {
			t.Errorf("with another byte %d it is opened as %+v", i, p)
		}
	}
	for _, size := range []int{0, 1, kindOffset, macOffset, Size - 1} {
		if _, ok := theirs.Open(m[:size]); ok {
			t.Errorf("%d bytes of it are taken", size)
		}
	}
	if _, ok := theirs.Open(append(m[:], 0)); ok {
		t.Error("one with a byte more is taken")
	}
	stranger := secretOf(t, identityOf(t, 3), b).Seal(Probe{Kind: Ping, ID: anID})
	if _, ok := theirs.Open(stranger[:]); ok {
		t.Error("the probe of another machine is taken")
	}
}

func TestKeysOfNoMachine(t *testing.T) {
	if _, err := NewIdentity(mesh.PrivateKey{}); err == nil {
		t.Error("a machine needs no private key")
	}
	own := identityOf(t, 1)
	for _, key := range []mesh.Key{{}, {1}} { // points of low order
		if _, err := own.SecretWith(key); err == nil {
			t.Errorf("%v is the key of a machine", key)
		}
	}
}

func TestSecretIsHidden(t *testing.T) {
	s := secretOf(t, identityOf(t, 1), identityOf(t, 2))
	for _, verb := range []string{"%v", "%+v", "%#v", "%x", "%d"} {
		if text := fmt.Sprintf(verb, s); text != "(hidden)" {
			t.Errorf("%s prints %s", verb, text)
		}
	}
}

// FuzzOpen takes any packet: what is opened is what the peer has sealed.
func FuzzOpen(f *testing.F) {
	a, b := identityOf(f, 1), identityOf(f, 2)
	ours, theirs := secretOf(f, a, b), secretOf(f, b, a)
	for _, p := range []Probe{{Kind: Ping, ID: anID}, {Kind: Pong, ID: anID, Seen: aPlace}} {
		m := theirs.Seal(p)
		f.Add(m[:])
		f.Add(m[:Size-1])
	}
	f.Fuzz(func(t *testing.T, packet []byte) {
		p, ok := ours.Open(packet)
		if !ok {
			return
		}
		if again := theirs.Seal(p); !bytes.Equal(again[:], packet) && p.Kind == Pong {
			t.Errorf("%x is opened as %+v", packet, p)
		}
	})
}

func BenchmarkOpen(b *testing.B) {
	one, other := identityOf(b, 1), identityOf(b, 2)
	ours, theirs := secretOf(b, one, other), secretOf(b, other, one)
	m := theirs.Seal(Probe{Kind: Ping, ID: anID})
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := ours.Open(m[:]); !ok {
			b.Fatal("not opened")
		}
	}
}

func BenchmarkSecretWith(b *testing.B) {
	one, other := identityOf(b, 1), identityOf(b, 2)
	for b.Loop() {
		secretOf(b, one, other)
	}
}

func TestIsNudge(t *testing.T) {
	nudge := append([]byte(magic+"\x03"), make([]byte, nudgeSize-len(magic)-1)...)
	if !IsNudge(nudge) || IsProbe(nudge) {
		t.Error("a nudge is not taken for one")
	}
	for i := range nudge {
		changed := bytes.Clone(nudge)
		changed[i]++
		if IsNudge(changed) {
			t.Errorf("with another byte %d it is a nudge", i)
		}
	}
	if IsNudge(nudge[:nudgeSize-1]) || IsNudge(append(nudge, 0)) {
		t.Error("a nudge has one size")
	}
}
