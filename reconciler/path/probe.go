package path

import (
	"crypto/ecdh"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/netip"

	"golang.org/x/crypto/blake2s"

	"github.com/spanmesh/span/reconciler/mesh"
)

// Size is the size of a probe in bytes. An answer is as large as what it answers.
const Size = 64

// magic is what all probes begin with. No message of WireGuard does, and none of STUN.
const magic = "Spn\x01"

// A probe has these fields, in big endian. What is between them is zero.
//
//	0 magic | 4 kind | 5 used | 8 tag | 16 ID | 28 seen address, 44 port | 48 MAC
const (
	kindOffset = 4
	usedOffset = 5
	tagOffset  = 8
	idOffset   = 16
	seenOffset = 28
	portOffset = 44
	macOffset  = 48
)

// Kind is the kind of a probe.
type Kind byte

// The kinds of probes. 3 is a relay's nudge, 4 is package reflection's, 6 and 7 are checks.
const (
	// Ping asks for a Pong.
	Ping Kind = 1
	// Pong answers a Ping.
	Pong Kind = 2
)

// ID tells pings apart. Its bytes are random.
type ID [12]byte

// Tag names the sender of a probe to its receiver.
type Tag [8]byte

// Probe is the content of a probe.
type Probe struct {
	Kind Kind
	// ID is new in a Ping. A Pong has that of the Ping.
	ID ID
	// Used is set in a Ping on the path that its sender uses.
	Used bool
	// Seen is where a Ping came from, in the Pong that answers it.
	Seen netip.AddrPort
}

// Identity is a machine's own end of all probes.
type Identity struct {
	private *ecdh.PrivateKey
	key     mesh.Key
}

// NewIdentity returns the identity of the machine with a private key.
func NewIdentity(private mesh.PrivateKey) (Identity, error) {
	if private.IsZero() {
		return Identity{}, errors.New("the machine has no private key")
	}
	raw := private.Bytes()
	own, err := ecdh.X25519().NewPrivateKey(raw[:])
	if err != nil {
		return Identity{}, fmt.Errorf("use the private key: %w", err)
	}
	return Identity{private: own, key: private.Public()}, nil
}

// Secret is what two machines share. It takes a Diffie-Hellman exchange to make, and is for one
// goroutine.
type Secret struct {
	// keyed makes MACs of 128 bits.
	keyed hash.Hash
	// in and out are the tags of what the peer sends and of what it gets.
	in, out Tag
	// phase is a number that both ends have, by which the pairs of a mesh spread over time.
	phase uint64
}

// SecretWith returns what a machine shares with a peer. It fails for keys that no machine has.
func (i Identity) SecretWith(peer mesh.Key) (*Secret, error) {
	public, err := ecdh.X25519().NewPublicKey(peer[:])
	if err != nil {
		return nil, fmt.Errorf("use the public key %v: %w", peer, err)
	}
	shared, err := i.private.ECDH(public)
	if err != nil {
		return nil, fmt.Errorf("use the public key %v: %w", peer, err)
	}
	// A session of WireGuard hashes the same exchange with other data.
	key := blake2s.Sum256(append([]byte("span probe"), shared...))
	keyed, err := blake2s.New128(key[:])
	if err != nil {
		return nil, fmt.Errorf("use the secret shared with %v: %w", peer, err)
	}
	s := &Secret{keyed: keyed}
	s.in, s.out = s.tag(peer), s.tag(i.key)
	s.phase = binary.BigEndian.Uint64(s.in[:]) ^ binary.BigEndian.Uint64(s.out[:])
	return s, nil
}

// Format prints "(hidden)" for every verb.
func (s *Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "(hidden)") }

// mac returns a MAC of data.
func (s *Secret) mac(data ...[]byte) (mac [blake2s.Size128]byte) {
	s.keyed.Reset()
	for _, d := range data {
		_, _ = s.keyed.Write(d) // never fails
	}
	s.keyed.Sum(mac[:0])
	return mac
}

func (s *Secret) tag(sender mesh.Key) Tag {
	mac := s.mac([]byte("tag"), sender[:])
	return Tag(mac[:])
}

// Seal returns a probe for the peer.
func (s *Secret) Seal(p Probe) [Size]byte {
	var m [Size]byte
	copy(m[:], magic)
	m[kindOffset] = byte(p.Kind)
	if p.Used {
		m[usedOffset] = 1
	}
	copy(m[tagOffset:], s.out[:])
	copy(m[idOffset:], p.ID[:])
	if p.Seen.IsValid() {
		address := p.Seen.Addr().As16()
		copy(m[seenOffset:], address[:])
		binary.BigEndian.PutUint16(m[portOffset:], p.Seen.Port())
	}
	mac := s.mac(m[:macOffset])
	copy(m[macOffset:], mac[:])
	return m
}

// Open returns the content of a probe from the peer. It takes one hash.
func (s *Secret) Open(packet []byte) (p Probe, ok bool) {
	if tag, is := TagOf(packet); !is || tag != s.in {
		return Probe{}, false
	}
	if mac := s.mac(packet[:macOffset]); subtle.ConstantTimeCompare(mac[:], packet[macOffset:]) != 1 {
		return Probe{}, false
	}
	p = Probe{Kind: Kind(packet[kindOffset]), Used: packet[usedOffset]&1 != 0, ID: ID(packet[idOffset:])}
	if p.Kind == Pong {
		seen := netip.AddrFrom16([16]byte(packet[seenOffset:])).Unmap()
		p.Seen = netip.AddrPortFrom(seen, binary.BigEndian.Uint16(packet[portOffset:]))
	}
	return p, true
}

// TagOf returns the tag of a packet that may be a probe.
func TagOf(packet []byte) (tag Tag, ok bool) {
	if len(packet) != Size || string(packet[:len(magic)]) != magic {
		return Tag{}, false
	}
	if k := Kind(packet[kindOffset]); k != Ping && k != Pong {
		return Tag{}, false
	}
	return Tag(packet[tagOffset:]), true
}

// IsProbe reports whether a packet has the form of a probe.
func IsProbe(packet []byte) bool {
	_, is := TagOf(packet)
	return is
}

// nudgeKind is the kind of a relay's nudge, and nudgeSize its size in bytes.
const (
	nudgeKind = Kind(3)
	nudgeSize = 32
)

// IsNudge reports whether a packet is one by which a relay asks to be shown anew who sends to it.
func IsNudge(packet []byte) bool {
	if len(packet) != nudgeSize || string(packet[:len(magic)]) != magic || Kind(packet[kindOffset]) != nudgeKind {
		return false
	}
	for _, b := range packet[kindOffset+1:] {
		if b != 0 {
			return false
		}
	}
	return true
}
