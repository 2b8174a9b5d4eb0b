package wireguard

import (
	"crypto/cipher"
	"encoding/binary"
	"errors"

	"golang.org/x/crypto/chacha20poly1305"
)

// dataHeader is the size of what is before the sealed packet (5.4.6).
const dataHeader = 16

// SessionState is what a session is made of. It is secret.
type SessionState struct {
	// Local and Remote are the indices of this end and of the other.
	Local, Remote uint32
	// ReceiveKey and SendKey are those of the two directions.
	ReceiveKey, SendKey Key
	// NextReceive is the least counter that is accepted, NextSend the next to be sent.
	NextReceive, NextSend uint64
}

// Session is the relay's end of a session. It takes part only to see that the other end is there.
type Session struct {
	state         SessionState
	receive, send cipher.AEAD
}

// NewSession returns a session in a state.
func NewSession(state SessionState) *Session {
	return &Session{state: state, receive: sealer(state.ReceiveKey), send: sealer(state.SendKey)}
}

func sealer(key Key) cipher.AEAD {
	a, err := chacha20poly1305.New(key[:])
	if err != nil {
		panic(err) // Only of a key with another size.
	}
	return a
}

// State returns the session's state.
func (s *Session) State() SessionState { return s.state }

var (
	errReplay  = errors.New("counter was used before")
	errMessage = errors.New("not data of this session")
)

// Open authenticates data of the other end. Each packet must be newer than those before: a packet
// that comes late does not show where its sender is now. What the packet contains is not kept.
func (s *Session) Open(data []byte) error {
	if kind, ok := TypeOf(data); !ok || kind != Data || Receiver(data) != s.state.Local {
		return errMessage
	}
	counter := binary.LittleEndian.Uint64(data[8:])
	if counter < s.state.NextReceive || counter == ^uint64(0) {
		return errReplay
	}
	// The capacity of the plaintext is not known before: a keepalive has none.
	if _, err := s.receive.Open(nil, nonce(counter), data[dataHeader:], nil); err != nil {
		return errMessage
	}
	s.state.NextReceive = counter + 1
	return nil
}

// AppendKeepalive appends a keepalive, which is data without content (6.5).
func (s *Session) AppendKeepalive(b []byte) []byte {
	b = append(b, byte(Data), 0, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, s.state.Remote)
	b = binary.LittleEndian.AppendUint64(b, s.state.NextSend)
	b = s.send.Seal(b, nonce(s.state.NextSend), nil, nil)
	s.state.NextSend++
	return b
}

func nonce(counter uint64) []byte {
	n := make([]byte, chacha20poly1305.NonceSize)
	binary.LittleEndian.PutUint64(n[4:], counter)
	return n
}
