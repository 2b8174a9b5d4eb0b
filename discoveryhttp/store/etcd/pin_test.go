package etcd

import (
	"strings"
	"testing"
	"time"
)

func TestPinLife(t *testing.T) {
	created := time.Unix(1_700_000_000, 0)
	const ttl = 30 * time.Minute
	for age, want := range map[time.Duration]time.Duration{
		0:                    ttl + 2*time.Minute + time.Second, // longer than its affiliate, with the slots of leases
		time.Hour:            time.Hour,
		7 * 24 * time.Hour:   7 * 24 * time.Hour,
		365 * 24 * time.Hour: 30 * 24 * time.Hour,
	} {
		now := created.Add(age)
		if got := (pin{"hash", created}).expires(now, ttl).Sub(now); got != want {
			t.Errorf("a pin that is used after %v lives for %v, want %v", age, got, want)
		}
	}
	if got := (pin{"hash", created}).expires(created, time.Minute).Sub(created); got != 10*time.Minute {
		t.Errorf("a new pin of a short affiliate lives for %v", got)
	}
}

func TestPinsAreReadAsTheyWereWritten(t *testing.T) {
	for _, hash := range []string{"h", strings.Repeat("h", 32)} {
		p := pin{hash, time.Unix(1_700_000_000, 0)}
		if got := parsePin([]byte(p.encode())); got != p {
			t.Errorf("got %v, want %v", got, p)
		}
	}
	for _, value := range []string{"", "short", strings.Repeat("h", 32)} { // of earlier versions
		if got := parsePin([]byte(value)); got.hash != value || !got.created.IsZero() {
			t.Errorf("got %v, want %q", got, value)
		}
	}
	if p := (pin{}); !p.admits([]byte("any")) || (pin{hash: "a"}).admits([]byte("b")) || (pin{hash: "a"}).admits(nil) {
		t.Error("the wrong tokens are admitted")
	}
}
