// Package proof shows a relay that whoever has a key join it has the private key.
//
// A proof is BLAKE2s-256 of what is asked for, keyed with X25519 of the member's and the relay's key.
// Only these two can make it; it says nothing to others.
package proof

import (
	"crypto/ecdh"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/blake2s"
)

const (
	// Size is that of a proof, in bytes.
	Size = blake2s.Size
	// label tells proofs from other uses of the keys.
	label = "span relay join v1"
	// MaxSkew is how far the clocks of both may be apart.
	MaxSkew = 5 * time.Minute
)

var (
	// ErrTime is that of a proof of another time.
	ErrTime = errors.New("the clocks of the machine and the server are more than five minutes apart; set the clock")
	// ErrProof is that of a proof that the key's owner has not made.
	ErrProof = errors.New("the proof was not made with the private key")
)

// Key is a private or public key of WireGuard.
type Key = [32]byte

// Make returns the proof that a member has its private key, when it asks to join a cluster at a
// relay.
func Make(private, relay Key, cluster string, at time.Time) ([]byte, error) {
	own, err := ecdh.X25519().NewPrivateKey(private[:])
	if err != nil {
		return nil, err
	}
	return sum(own, relay, Key(own.PublicKey().Bytes()), cluster, at.Unix())
}

// Check returns an error unless a proof of a time was made with a member's private key for the relay
// whose private key is given.
func Check(relay, member Key, cluster string, at, now time.Time, proof []byte) error {
	if at.Before(now.Add(-MaxSkew)) || at.After(now.Add(MaxSkew)) {
		return ErrTime
	}
	own, err := ecdh.X25519().NewPrivateKey(relay[:])
	if err != nil {
		return err
	}
	want, err := sum(own, member, member, cluster, at.Unix())
	if err != nil {
		return err
	}
	if subtle.ConstantTimeCompare(proof, want) != 1 {
		return ErrProof
	}
	return nil
}

func sum(own *ecdh.PrivateKey, other, member Key, cluster string, seconds int64) ([]byte, error) {
	public, err := ecdh.X25519().NewPublicKey(other[:])
	if err != nil {
		return nil, err
	}
	shared, err := own.ECDH(public)
	if err != nil {
		return nil, fmt.Errorf("the key is none of WireGuard's: %w", err)
	}
	h, err := blake2s.New256(shared)
	if err != nil {
		return nil, err // not reached: the key has 32 bytes
	}
	b := append([]byte(label), member[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(seconds))
	b = append(b, cluster...) // the last, so that its length needs no field
	_, _ = h.Write(b)
	return h.Sum(nil), nil
}
