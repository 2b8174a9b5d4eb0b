package etcd

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"time"

	"github.com/spanmesh/span/discoveryhttp/store"
)

// pin is the token of a cluster. The zero value is none.
type pin struct {
	// hash is that of the token.
	hash string
	// created is when it was pinned.
	created time.Time
}

// encode returns the value of a pin's key: the hash, and the seconds since 1970 of its
// creation.
func (p pin) encode() string {
	return string(binary.BigEndian.AppendUint64([]byte(p.hash), uint64(p.created.Unix())))
}

// parsePin is the inverse of encode. A pin of an earlier version is a hash alone, and was created
// long ago.
func parsePin(value []byte) pin {
	const timeSize = 8
	if len(value) == sha256.Size || len(value) < timeSize {
		return pin{hash: string(value)}
	}
	hash, created := value[:len(value)-timeSize], value[len(value)-timeSize:]
	return pin{hash: string(hash), created: time.Unix(int64(binary.BigEndian.Uint64(created)), 0)}
}

// admits reports whether there is no pin, or a token is it.
func (p pin) admits(token []byte) bool {
	return p.hash == "" || subtle.ConstantTimeCompare([]byte(p.hash), token) == 1
}

// expires returns when the pin ends after a use at a time that makes an affiliate with a TTL. It
// ends after the affiliate, which may live a slot of leases longer than its TTL.
func (p pin) expires(now time.Time, ttl time.Duration) time.Time {
	return now.Add(max(store.PinLife(p.created, now), ttl+2*ttl/leaseSlots+time.Second))
}
