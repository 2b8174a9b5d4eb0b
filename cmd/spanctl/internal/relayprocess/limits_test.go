package relayprocess

import "testing"

// TestLimitsFit holds the figure of docs/relay.md.
func TestLimitsFit(t *testing.T) {
	if most := limits().Memory(); most > 121_000_000 {
		t.Errorf("a relay may take %d bytes", most)
	}
}
