package static_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/static"
	"github.com/spanmesh/span/schema"
)

const psk = "dAmFcyNmDXusqnTSkPJrsgLJ38W8oEEXGZKM0x6Orpc="

// config has discovery enabled, with these peers.
func config(peers ...schema.StaticPeer) *schema.Config {
	c := &schema.Config{}
	c.Cluster.Discovery.Enabled = true
	c.Cluster.Discovery.Registries.Static.Peers = peers
	return c
}

func TestSnapshotHasThePeersOfTheConfig(t *testing.T) {
	c := config(
		schema.StaticPeer{Name: "tablet", PublicKey: schema.StaticKey{2}, PresharedKey: schema.SecretText(psk)},
		schema.StaticPeer{Name: "phone", PublicKey: schema.StaticKey{1}, Endpoints: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:1")},
			AllowedIPs: []netip.Prefix{netip.MustParsePrefix("10.7.0.1/32"), netip.MustParsePrefix("10.8.0.0/16")}},
	)
	r, err := static.Driver().Open(reconciler.RegistryOptions{Config: c})
	if err != nil {
		t.Fatal(err)
	}
	s := r.Snapshot()
	if !s.Complete || len(s.Affiliates) != 2 {
		t.Fatalf("the snapshot is %+v", s)
	}
	phone := s.Affiliates[0]
	if phone.NodeID != mesh.StaticID("phone") || !phone.Static || phone.Nodename != "phone" || len(phone.Addresses) != 1 ||
		len(phone.KubeSpan.AdditionalAddresses) != 2 || len(phone.KubeSpan.Endpoints) != 1 {
		t.Errorf("the phone is %+v", phone)
	}
	if key := s.PresharedKeys[mesh.Key{2}]; key.IsZero() || len(s.PresharedKeys) != 1 {
		t.Errorf("%d preshared keys, want that of the tablet", len(s.PresharedKeys))
	}
	if text := fmt.Sprintf("%v %+v", s, s); strings.Contains(text, psk) {
		t.Error("a preshared key is printed")
	}
}

func TestNothingIsPublishedOrCached(t *testing.T) {
	r, err := static.Driver().Open(reconciler.RegistryOptions{Config: config(schema.StaticPeer{Name: "phone", PresharedKey: schema.SecretText(psk)})})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Announce(t.Context(), mesh.Affiliate{}); !errors.Is(err, reconciler.ErrReadOnly) {
		t.Errorf("announce: %v", err)
	}
	if data, err := r.Cache(); err != nil || data != nil {
		t.Errorf("the cache is %q, %v", data, err)
	}
}

func TestDriverIsForConfigsWithPeers(t *testing.T) {
	disabled := config(schema.StaticPeer{Name: "phone"})
	disabled.Cluster.Discovery.Enabled = false
	for name, c := range map[string]*schema.Config{"without peers": config(), "without discovery": disabled} {
		if settings := static.Driver().Settings(c); settings != nil {
			t.Errorf("%s: the settings are %+v", name, settings)
		}
	}
	if static.Driver().Settings(config(schema.StaticPeer{Name: "phone"})) == nil {
		t.Error("with a peer, there are no settings")
	}
}

func TestUnreadablePresharedKeyIsAnError(t *testing.T) {
	_, err := static.Driver().Open(reconciler.RegistryOptions{Config: config(schema.StaticPeer{Name: "phone", PresharedKey: schema.SecretText("short")})})
	if err == nil || !strings.Contains(err.Error(), "static.peers: presharedKey of phone") || strings.Contains(err.Error(), "short ") {
		t.Errorf("got %v", err)
	}
}
