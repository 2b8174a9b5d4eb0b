package cli

import "testing"

func TestGCPercent(t *testing.T) {
	for _, c := range []struct {
		name   string
		bounds gcBounds
		want   map[uint64]int
	}{
		{"a server", gcOfServer, map[uint64]int{0: 400, 1 << 20: 400, 10 << 20: 200, 40 << 20: 50, 1 << 40: 40}},
		{"an agent", gcOfAgent, map[uint64]int{0: 50, 1 << 20: 50, 16 << 20: 50, 40 << 20: 20, 1 << 40: 15}},
	} {
		for live, want := range c.want {
			if got := c.bounds.percent(live); got != want {
				t.Errorf("%s with %d bytes kept: %d, want %d", c.name, live, got, want)
			}
		}
	}
}
