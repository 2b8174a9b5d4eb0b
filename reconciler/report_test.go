package reconciler

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/peer"
	"github.com/spanmesh/span/reconciler/resource"
)

// TestWaysOfAPeerAreLogged has a peer be reached in other ways than before.
func TestWaysOfAPeerAreLogged(t *testing.T) {
	connection := func(state peer.State, relay, blind byte) peer.Connection {
		c := peer.Connection{Key: mesh.Key{1}, Relay: mesh.Key{relay}, BlindRelay: mesh.Key{blind}}
		c.Status.State = state
		return c
	}
	for _, c := range []struct {
		name          string
		before, after peer.Connection
		want          string
	}{
		{"nothing has changed", connection(peer.Up, 0, 0), connection(peer.Up, 0, 0), ""},
		{"it is relayed", connection(peer.Down, 0, 0), connection(peer.Down, 2, 0), "peer relayed"},
		{"a blind relay instead of a member", connection(peer.Down, 2, 0), connection(peer.Up, 0, 3), "peer reached through a blind relay"},
		{"a member instead of a blind relay", connection(peer.Up, 0, 3), connection(peer.Down, 2, 0), "peer relayed"},
		{"it loses its relay, and stays down", connection(peer.Down, 2, 0), connection(peer.Down, 0, 0), ""},
		{"directly instead of a member", connection(peer.Down, 2, 0), connection(peer.Up, 0, 0), "peer reached directly"},
		{"directly instead of a blind relay", connection(peer.Up, 0, 3), connection(peer.Up, 0, 0), "peer reached directly"},
		{"another blind relay", connection(peer.Up, 0, 3), connection(peer.Up, 0, 4), "peer reached through a blind relay"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			e := NewEngine(nil, nil, &resource.Store{}, slog.New(slog.NewTextHandler(&out, nil)))
			e.reportPeer(time.Unix(1_800_000_000, 0), &Pass{}, peer.Transition{Before: &c.before, After: &c.after})
			var got []string
			for line := range strings.Lines(out.String()) {
				if strings.Contains(line, "relayed") || strings.Contains(line, "reached") {
					got = append(got, line)
				}
			}
			if len(got) > 1 || (len(got) == 1) != (c.want != "") || len(got) == 1 && !strings.Contains(got[0], c.want) {
				t.Errorf("logged is %q, want %q", got, c.want)
			}
		})
	}
}
