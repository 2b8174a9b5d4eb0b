package cli

import "testing"

func TestGCPercent(t *testing.T) {
	for live, want := range map[uint64]int{0: gcMost, 1 << 20: gcMost, 10 << 20: 200, 40 << 20: 50, 1 << 40: gcLeast} {
		if got := gcPercent(live, gcMost); got != want {
			t.Errorf("with %d bytes kept: %d, want %d", live, got, want)
		}
	}
	if got := gcPercent(1<<20, gcUsual); got != gcUsual {
		t.Errorf("of an agent: %d, want %d", got, gcUsual)
	}
}
