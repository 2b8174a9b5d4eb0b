package store

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestChangesBeforeTheTick has changes that come after a suspension, or after the clock was set
// back, and before the server expires anything.
func TestChangesBeforeTheTick(t *testing.T) {
	const ttl = 30 * time.Minute
	for name, set := range map[string]func(c *clock){
		"suspended": func(*clock) { time.Sleep(5 * time.Hour) },
		"clock set back": func(c *clock) {
			// What was before is as if the clock had been ahead.
			c.ticked, c.away = c.ticked.Add(5*time.Hour), c.away+(5*time.Hour).Milliseconds()
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := NewMemory(Limits{})
				update := func(id string) {
					if err := m.Update(t.Context(), "c", Update{ID: id, Data: []byte("1"), Now: time.Now(), TTL: ttl}); err != nil {
						t.Fatal(err)
					}
				}
				left := func() int {
					if err := m.Expire(time.Now()); err != nil {
						t.Fatal(err)
					}
					return m.Stats().Affiliates
				}
				update("a")
				left()
				set(&m.clock)
				update("b")
				for range 4 * 29 {
					time.Sleep(15 * time.Second)
					if got := left(); got != 2 {
						t.Fatalf("%d affiliates are left, want 2", got)
					}
				}
				time.Sleep(90 * time.Second)
				if got := left(); got != 0 {
					t.Errorf("%d affiliates live longer than their TTL", got)
				}
			})
		})
	}
}
