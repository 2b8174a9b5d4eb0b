package wireguard

import (
	"crypto/ecdh"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/flynn/noise"
)

// prologue is the paper's IDENTIFIER (5.4).
const prologue = "WireGuard v1 zx2c4 Jason@zx2c4.com"

var suite = noise.NewCipherSuite(noise.DH25519, noise.CipherChaChaPoly, noise.HashBLAKE2s)

// Timestamp is the time in an initiation, which grows from each to the next (5.1).
type Timestamp [12]byte

// Responder answers initiations to a key, without a preshared key.
type Responder struct {
	static noise.DHKey
	public Key
}

// NewResponder returns the responder of a private key.
func NewResponder(private Key) (*Responder, error) {
	k, err := ecdh.X25519().NewPrivateKey(private[:])
	if err != nil {
		return nil, fmt.Errorf("read the private key: %w", err)
	}
	public := k.PublicKey().Bytes()
	return &Responder{
		static: noise.DHKey{Private: append([]byte(nil), private[:]...), Public: public},
		public: Key(public),
	}, nil
}

// PublicKey returns the public key.
func (r *Responder) PublicKey() Key { return r.public }

// Handshake is an initiation that was made by the holder of a key.
type Handshake struct {
	// Peer is the initiator's public key.
	Peer Key
	// Timestamp is greater than that of the initiator's handshakes before, if this is no replay.
	Timestamp Timestamp

	state  *noise.HandshakeState
	sender uint32
}

// Consume opens an initiation. Whether it is a replay is for the caller to judge.
func (r *Responder) Consume(initiation []byte) (*Handshake, error) {
	if kind, ok := TypeOf(initiation); !ok || kind != Initiation {
		return nil, errors.New("not an initiation")
	}
	state, err := noise.NewHandshakeState(noise.Config{
		CipherSuite:           suite,
		Random:                rand.Reader,
		Pattern:               noise.HandshakeIK,
		Prologue:              []byte(prologue),
		PresharedKey:          make([]byte, 32),
		PresharedKeyPlacement: 2,
		StaticKeypair:         r.static,
	})
	if err != nil {
		return nil, err
	}
	timestamp, _, _, err := state.ReadMessage(nil, initiation[8:InitiationSize-2*macSize])
	if err != nil {
		return nil, fmt.Errorf("open the initiation: %w", err)
	}
	if len(timestamp) != len(Timestamp{}) {
		return nil, errors.New("open the initiation: its timestamp has another size")
	}
	return &Handshake{
		Peer:      Key(state.PeerStatic()),
		Timestamp: Timestamp(timestamp),
		state:     state,
		sender:    Sender(initiation),
	}, nil
}

// Respond returns the response, and the session with this end's index.
func (h *Handshake) Respond(index uint32) (response []byte, session *Session, err error) {
	response = make([]byte, 12, ResponseSize)
	response[0] = byte(Response)
	binary.LittleEndian.PutUint32(response[4:], index)
	binary.LittleEndian.PutUint32(response[8:], h.sender)
	response, receive, send, err := h.state.WriteMessage(response, nil)
	if err != nil {
		return nil, nil, fmt.Errorf("respond: %w", err)
	}
	response = response[:ResponseSize]
	NewMAC(h.Peer).sign(response)
	return response, NewSession(SessionState{
		Local: index, Remote: h.sender,
		ReceiveKey: receive.UnsafeKey(), SendKey: send.UnsafeKey(),
	}), nil
}
