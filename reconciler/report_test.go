package reconciler

import (
	"bytes"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/spanmesh/span/reconciler/event"
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
	punched := connection(peer.Up, 0, 0)
	punched.Path = &mesh.Path{Endpoint: netip.MustParseAddrPort("203.0.113.9:4000"), Punched: true}
	punched.Status.Endpoint = punched.Path.Endpoint
	for _, c := range []struct {
		name          string
		before, after peer.Connection
		want          string
		reason        event.Reason
	}{
		{"nothing has changed", connection(peer.Up, 0, 0), connection(peer.Up, 0, 0), "", ""},
		{"it is relayed", connection(peer.Down, 0, 0), connection(peer.Down, 2, 0), "peer relayed", event.PeerRelayed},
		{"a blind relay instead of a member", connection(peer.Down, 2, 0), connection(peer.Up, 0, 3), "peer reached through a blind relay", event.PeerRelayed},
		{"a member instead of a blind relay", connection(peer.Up, 0, 3), connection(peer.Down, 2, 0), "peer relayed", event.PeerRelayed},
		{"it loses its relay, and stays down", connection(peer.Down, 2, 0), connection(peer.Down, 0, 0), "", ""},
		{"directly instead of a member", connection(peer.Down, 2, 0), connection(peer.Up, 0, 0), "peer reached directly", event.PeerDirect},
		{"directly instead of a blind relay", connection(peer.Up, 0, 3), connection(peer.Up, 0, 0), "peer reached directly", event.PeerDirect},
		{"another blind relay", connection(peer.Up, 0, 3), connection(peer.Up, 0, 4), "peer reached through a blind relay", event.PeerRelayed},
		{"through NATs instead of a blind relay", connection(peer.Up, 0, 3), punched, "peer reached directly", event.PeerPunched},
		{"through NATs at once", connection(peer.Down, 0, 0), punched, "peer reached directly", event.PeerPunched},
		{"through NATs as before", punched, punched, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			store := &resource.Store{}
			e := NewEngine(nil, nil, store, slog.New(slog.NewTextHandler(&out, nil)))
			change, now := peer.Transition{Before: &c.before, After: &c.after}, time.Unix(1_800_000_000, 0)
			e.reportPeer(&Pass{}, change)
			e.recordWays(now, &Pass{}, []peer.Transition{change})
			var got []string
			for line := range strings.Lines(out.String()) {
				if strings.Contains(line, "relayed") || strings.Contains(line, "reached") {
					got = append(got, line)
				}
			}
			if len(got) > 1 || (len(got) == 1) != (c.want != "") || len(got) == 1 && !strings.Contains(got[0], c.want) {
				t.Errorf("logged is %q, want %q", got, c.want)
			}
			var reasons string
			for _, x := range store.List(resource.EventType) {
				reasons += x.Spec.(resource.Event).Reason
			}
			if reasons != string(c.reason) {
				t.Errorf("the event is %q, want %q", reasons, c.reason)
			}
		})
	}
}

// TestManyWaysAreOneEvent has all peers take a relay at once.
func TestManyWaysAreOneEvent(t *testing.T) {
	store := &resource.Store{}
	e := NewEngine(nil, nil, store, slog.New(slog.DiscardHandler))
	var changes []peer.Transition
	for i := range maxPeerEvents + 1 {
		after := &peer.Connection{Key: mesh.Key{byte(i)}, BlindRelay: mesh.Key{200}}
		after.Status.State = peer.Up
		changes = append(changes, peer.Transition{After: after})
	}
	e.recordWays(time.Unix(1_800_000_000, 0), &Pass{}, changes)
	all := store.List(resource.EventType)
	if len(all) != 1 || all[0].Spec.(resource.Event).Object != "21 peers" {
		t.Errorf("the events are %+v", all)
	}
}

func TestRelayEvents(t *testing.T) {
	local, udp := netip.MustParseAddrPort("127.0.0.1:4000"), netip.MustParseAddrPort("192.0.2.1:51821")
	r := &mesh.BlindRelay{Local: local}
	none, lost, tcp, direct := peer.BlindRelay{}, peer.BlindRelay{Endpoint: udp, Lost: true}, peer.BlindRelay{Endpoint: local}, peer.BlindRelay{Endpoint: udp}
	for _, c := range []struct {
		name    string
		was, is peer.BlindRelay
		want    event.Reason
	}{
		{"still not registered", none, lost, ""},
		{"registered", none, direct, event.RelayReached},
		{"registered as before", direct, direct, ""},
		{"lost", direct, lost, event.RelayLost},
		{"forgotten", tcp, none, event.RelayLost},
		{"over TCP after it was lost", lost, tcp, event.RelayOverTCP},
		{"over TCP", direct, tcp, event.RelayOverTCP},
		{"by UDP again", tcp, direct, event.RelayReached},
	} {
		if got, message := relayEvent(relayWayOf(r, c.was), relayWayOf(r, c.is)); got != c.want || (message == "") != (c.want == "") {
			t.Errorf("%s: %q %q, want %q", c.name, got, message, c.want)
		}
	}
}
