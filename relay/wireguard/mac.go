package wireguard

import (
	"crypto/subtle"
	"hash"

	"golang.org/x/crypto/blake2s"
)

// The last 32 bytes of an initiation and of a response are mac1 and mac2 (5.4.4).
const macSize = 16

// MAC checks mac1, by which a handshake message names its receiver without showing its key. It is
// for one goroutine.
type MAC struct {
	hash hash.Hash
	sum  [macSize]byte
}

// NewMAC returns the check for messages to the holder of a public key.
func NewMAC(public Key) *MAC {
	h := keyed128(labelled("mac1----", public))
	return &MAC{hash: h}
}

// Marks reports whether an initiation or a response is for the holder of the key.
func (m *MAC) Marks(message []byte) bool {
	body := len(message) - 2*macSize
	if body < 0 {
		return false
	}
	m.hash.Reset()
	m.hash.Write(message[:body])
	m.hash.Sum(m.sum[:0])
	return subtle.ConstantTimeCompare(m.sum[:], message[body:body+macSize]) == 1
}

// sign writes mac1 into a message.
func (m *MAC) sign(message []byte) {
	body := len(message) - 2*macSize
	m.hash.Reset()
	m.hash.Write(message[:body])
	m.hash.Sum(message[:body])
}

// labelled returns HASH(label || key).
func labelled(label string, key Key) Key {
	return blake2s.Sum256(append([]byte(label), key[:]...))
}

// keyed128 returns the paper's MAC, with a key that is not longer than a hash.
func keyed128[K Key | [macSize]byte](key K) hash.Hash {
	var k []byte
	switch key := any(key).(type) {
	case Key:
		k = key[:]
	case [macSize]byte:
		k = key[:]
	}
	h, err := blake2s.New128(k)
	if err != nil {
		panic(err) // Only of a key that is too long.
	}
	return h
}
