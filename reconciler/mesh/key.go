package mesh

import (
	"bytes"
	"crypto/ecdh"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
)

// KeySize is the length of a Curve25519 key in bytes (RFC 7748).
const KeySize = 32

// Key is a WireGuard public key. Its text form is standard base64.
type Key [KeySize]byte

// ParseKey parses the base64 of 32 bytes.
func ParseKey(text string) (Key, error) {
	var k Key
	if err := k.UnmarshalText([]byte(text)); err != nil {
		return Key{}, err
	}
	return k, nil
}

func (k Key) String() string { return base64.StdEncoding.EncodeToString(k[:]) }

// IsZero reports whether k is the zero key, which no machine has.
func (k Key) IsZero() bool { return k == Key{} }

// Compare compares keys by their bytes.
func (k Key) Compare(other Key) int { return bytes.Compare(k[:], other[:]) }

// MarshalText returns the base64 of the key.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText is the inverse of MarshalText.
func (k *Key) UnmarshalText(text []byte) error {
	raw, err := base64.StdEncoding.DecodeString(string(text))
	if err != nil || len(raw) != KeySize {
		return fmt.Errorf("not a WireGuard key: expected the base64 of %d bytes", KeySize)
	}
	*k = Key(raw)
	return nil
}

// PrivateKey is a secret WireGuard key: a private key or a preshared key. It prints as
// "(hidden)" everywhere. Bytes and Reveal return its value.
type PrivateKey struct{ raw [KeySize]byte }

// NewPrivateKey makes a key from 32 bytes of random, clamped (RFC 7748, section 5).
func NewPrivateKey(random io.Reader) (PrivateKey, error) {
	var k PrivateKey
	if _, err := io.ReadFull(random, k.raw[:]); err != nil {
		return PrivateKey{}, fmt.Errorf("read randomness for a private key: %w", err)
	}
	k.raw[0] &= 248
	k.raw[31] = k.raw[31]&127 | 64
	return k, nil
}

// ParsePrivateKey parses the base64 of 32 bytes.
func ParsePrivateKey(text string) (PrivateKey, error) {
	k, err := ParseKey(text)
	return PrivateKey{k}, err
}

// SecretKey wraps 32 secret bytes, such as a preshared key.
func SecretKey(raw [KeySize]byte) PrivateKey { return PrivateKey{raw} }

// Public returns the public key (RFC 7748, section 6.1): the zero Key for the zero
// PrivateKey.
func (k PrivateKey) Public() Key {
	if k.IsZero() {
		return Key{}
	}
	private, err := ecdh.X25519().NewPrivateKey(k.raw[:])
	if err != nil {
		return Key{} // not reached: every 32 bytes are an X25519 key
	}
	return Key(private.PublicKey().Bytes())
}

// Bytes returns the secret bytes.
func (k PrivateKey) Bytes() [KeySize]byte { return k.raw }

// Reveal returns the secret as base64.
func (k PrivateKey) Reveal() string { return Key(k.raw).String() }

// IsZero reports whether no key is set.
func (k PrivateKey) IsZero() bool { return k.raw == [KeySize]byte{} }

const hidden = "(hidden)"

// Format prints "(hidden)" for every verb: otherwise %d and %x would print the bytes.
func (k PrivateKey) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

func (k PrivateKey) String() string               { return hidden }
func (k PrivateKey) LogValue() slog.Value         { return slog.StringValue(hidden) }
func (k PrivateKey) MarshalText() ([]byte, error) { return []byte(hidden), nil }
