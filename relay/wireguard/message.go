package wireguard

import (
	"encoding/binary"
	"time"
)

// Key is a public, private or symmetric key.
type Key = [32]byte

// Type is what a message begins with (5.4).
type Type byte

// The types.
const (
	Initiation  Type = 1
	Response    Type = 2
	CookieReply Type = 3
	Data        Type = 4
)

// Sizes of messages in bytes; that of data is the least.
const (
	InitiationSize  = 148
	ResponseSize    = 92
	CookieReplySize = 64
	DataSize        = 32
)

// MaxSize is that of the largest UDP datagram.
const MaxSize = 65535

// Times of sessions (6.1, 6.5).
const (
	// RejectAfterTime is how long a session's packets are accepted.
	RejectAfterTime = 180 * time.Second
	// CookieLifetime is how long a cookie is accepted at least.
	CookieLifetime = 120 * time.Second
)

// TypeOf returns the type of a message; ok is false if it is none of WireGuard's.
func TypeOf(packet []byte) (kind Type, ok bool) {
	if len(packet) < DataSize || packet[1]|packet[2]|packet[3] != 0 {
		return 0, false
	}
	switch kind = Type(packet[0]); kind {
	case Initiation:
		return kind, len(packet) == InitiationSize
	case Response:
		return kind, len(packet) == ResponseSize
	case CookieReply:
		return kind, len(packet) == CookieReplySize
	case Data:
		return kind, len(packet) <= MaxSize
	}
	return 0, false
}

// Sender returns the index that an initiation or a response gives the sender's end of the session.
func Sender(message []byte) uint32 { return binary.LittleEndian.Uint32(message[4:]) }

// Answered returns the index of the initiation that a response answers.
func Answered(response []byte) uint32 { return binary.LittleEndian.Uint32(response[8:]) }

// Receiver returns the index of the receiver's end, from data or from a cookie reply.
func Receiver(message []byte) uint32 { return binary.LittleEndian.Uint32(message[4:]) }
