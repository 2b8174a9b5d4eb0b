package wireguard

import (
	"crypto/rand"
	"net/netip"
	"testing"
	"time"
)

func FuzzConsume(f *testing.F) {
	var private Key
	rand.Read(private[:])
	r, err := NewResponder(private)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(make([]byte, InitiationSize))
	f.Fuzz(func(t *testing.T, p []byte) {
		if _, err := r.Consume(p); err == nil {
			t.Fatal("what nobody has made was accepted")
		}
	})
}

// TestCookie checks that a cookie is for one address and for some time.
func TestCookie(t *testing.T) {
	c := NewCookies(Key{1})
	now := time.Unix(1e9, 0)
	from, other := netip.MustParseAddrPort("192.0.2.1:1"), netip.MustParseAddrPort("192.0.2.1:2")
	m := make([]byte, InitiationSize)
	if reply := c.AppendReply(nil, now, m, from); len(reply) != CookieReplySize || reply[0] != byte(CookieReply) {
		t.Fatalf("%d bytes", len(reply))
	}
	if c.Valid(now, m, from) {
		t.Error("no mac2 was accepted")
	}
	mac := keyed128(cookie(c.secrets[0], from))
	mac.Write(m[:len(m)-macSize])
	mac.Sum(m[:len(m)-macSize])
	for _, tt := range []struct {
		name string
		at   time.Duration
		from netip.AddrPort
		want bool
	}{
		{"at once", 0, from, true},
		{"another port", 0, other, false},
		{"after two minutes", CookieLifetime, from, true},
		{"after long", 5 * CookieLifetime, from, false},
	} {
		if got := c.Valid(now.Add(tt.at), m, tt.from); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}
