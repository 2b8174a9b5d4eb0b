package peer

import (
	"net/netip"
	"testing"

	"github.com/spanmesh/span/reconciler/mesh"
)

func TestPathKind(t *testing.T) {
	here, elsewhere := netip.MustParseAddrPort("203.0.113.9:40000"), netip.MustParseAddrPort("203.0.113.9:51820")
	up := Status{State: Up, Endpoint: here}
	for _, test := range []struct {
		name    string
		c       Connection
		overTCP bool
		want    PathKind
	}{
		{"down", Connection{Status: Status{State: Down, Endpoint: here}}, false, PathNone},
		{"new", Connection{}, false, PathNone},
		{"a member forwards", Connection{Relay: mesh.Key{1}, Status: Status{State: Down}}, false, PathForwarding},
		{"a relay by UDP", Connection{BlindRelay: mesh.Key{1}, Status: up}, false, PathBlindRelay},
		{"a relay over TCP", Connection{BlindRelay: mesh.Key{1}, Status: up}, true, PathBlindRelayTCP},
		{"a relay that is tried", Connection{BlindRelay: mesh.Key{1}, Status: Status{State: Unknown, Endpoint: here}}, false, PathNone},
		{"punched", Connection{Status: up, Path: &mesh.Path{Endpoint: here, Punched: true}}, false, PathPunched},
		{"a path that had not to be punched", Connection{Status: up, Path: &mesh.Path{Endpoint: here}}, false, PathDirect},
		{"elsewhere than the punched path", Connection{Status: up, Path: &mesh.Path{Endpoint: elsewhere, Punched: true}}, false, PathDirect},
		{"an endpoint", Connection{Status: up}, false, PathDirect},
	} {
		if got := test.c.PathKind(test.overTCP); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}
