package wireguard

import (
	"crypto/cipher"
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"
	"net/netip"
	"time"

	"golang.org/x/crypto/chacha20poly1305"
)

// Cookies let senders of initiations show that they have their address, before anything costly is
// done for them (5.4.7).
type Cookies struct {
	reply cipher.AEAD
	// secrets are the current and the one before; each is used for CookieLifetime.
	secrets [2]Key
	changed time.Time
}

// NewCookies returns the cookies of a public key's holder.
func NewCookies(public Key) *Cookies {
	key := labelled("cookie--", public)
	reply, err := chacha20poly1305.NewX(key[:])
	if err != nil {
		panic(err) // Only of a key with another size.
	}
	return &Cookies{reply: reply}
}

// Valid reports whether mac2 of an initiation was made with a cookie of its sender's address.
func (c *Cookies) Valid(now time.Time, initiation []byte, from netip.AddrPort) bool {
	c.refresh(now)
	mac2 := initiation[len(initiation)-macSize:]
	if [macSize]byte(mac2) == ([macSize]byte{}) {
		return false
	}
	for _, secret := range c.secrets {
		mac := keyed128(cookie(secret, from))
		mac.Write(initiation[:len(initiation)-macSize])
		if subtle.ConstantTimeCompare(mac.Sum(nil), mac2) == 1 {
			return true
		}
	}
	return false
}

// AppendReply appends the reply with a cookie for the sender of an initiation.
func (c *Cookies) AppendReply(b []byte, now time.Time, initiation []byte, from netip.AddrPort) []byte {
	c.refresh(now)
	b = append(b, byte(CookieReply), 0, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, Sender(initiation))
	var nonce [chacha20poly1305.NonceSizeX]byte
	rand.Read(nonce[:])
	b = append(b, nonce[:]...)
	value := cookie(c.secrets[0], from)
	mac1 := initiation[len(initiation)-2*macSize : len(initiation)-macSize]
	return c.reply.Seal(b, nonce[:], value[:], mac1)
}

func (c *Cookies) refresh(now time.Time) {
	if !c.changed.IsZero() && now.Sub(c.changed) < CookieLifetime {
		return
	}
	if c.changed.IsZero() || now.Sub(c.changed) > 2*CookieLifetime {
		rand.Read(c.secrets[0][:])
	}
	c.secrets[1] = c.secrets[0]
	rand.Read(c.secrets[0][:])
	c.changed = now
}

func cookie(secret Key, from netip.AddrPort) (value [macSize]byte) {
	mac := keyed128(secret)
	address := from.Addr().As16()
	mac.Write(address[:])
	mac.Write(binary.BigEndian.AppendUint16(nil, from.Port()))
	mac.Sum(value[:0])
	return value
}
