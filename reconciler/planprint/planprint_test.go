package planprint_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/planprint"
	"github.com/spanmesh/span/reconciler/state"
)

// TestLongAllowedIPs has lists that are too long to be shown. The difference must show.
func TestLongAllowedIPs(t *testing.T) {
	var ten []netip.Prefix
	for i := range 10 {
		ten = append(ten, netip.MustParsePrefix(fmt.Sprintf("10.0.0.%d/32", i)))
	}
	peer := state.Peer{PublicKey: mesh.Key{1}, Label: "node-2", AllowedIPs: ten}
	changed := peer
	changed.AllowedIPs = slices.Concat(ten[:9], []netip.Prefix{netip.MustParsePrefix("10.0.1.0/24")})
	got := planprint.Describe(state.PeerChange{Old: peer, New: changed}).String()
	if want := "(node-2): allowedIPs added 10.0.1.0/24, allowedIPs removed 10.0.0.9/32"; !strings.HasSuffix(got, want) {
		t.Errorf("got %q, want a line that ends in %q", got, want)
	}
}

func TestSecretsAreHidden(t *testing.T) {
	secret := mesh.SecretKey([32]byte{0: 8, 5: 5})
	other := mesh.SecretKey([32]byte{0: 16, 5: 6})
	for _, c := range []state.Change{
		state.LinkChange{Old: state.Link{Name: "kubespan", PrivateKey: other}, New: state.Link{Name: "kubespan", PrivateKey: secret}},
		state.PeerChange{Old: state.Peer{PublicKey: mesh.Key{1}, PresharedKey: other}, New: state.Peer{PublicKey: mesh.Key{1}, PresharedKey: secret}},
	} {
		for _, text := range []string{planprint.Describe(c).String(), fmt.Sprintf("%v %+v", c, c)} {
			if strings.Contains(text, secret.Reveal()) || strings.Contains(text, other.Reveal()) || !strings.Contains(text, "(hidden") {
				t.Errorf("the text is %q", text)
			}
		}
	}
}
