package wgconf_test

import (
	"bytes"
	"image/png"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/spanmesh/span/cmd/spanctl/internal/wgconf"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/schema"
)

const (
	private   = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAEA="
	preshared = "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
)

func phone() *wgconf.Config {
	return &wgconf.Config{
		Title: "phone, which reaches the mesh through web1",
		Interface: wgconf.Interface{Name: "phone", PrivateKey: schema.SecretText(private), MTU: 1420,
			Addresses: []netip.Prefix{netip.MustParsePrefix("fd00::77/128"), netip.MustParsePrefix("10.99.0.9/32")}},
		Peers: []wgconf.Peer{{Name: "web1", PublicKey: mesh.Key{2}, PresharedKey: schema.SecretText(preshared), Endpoint: "[2001:db8::1]:51820",
			AllowedIPs: []netip.Prefix{netip.MustParsePrefix("10.99.0.0/24"), netip.MustParsePrefix("fd00::/64")}, Keepalive: 25}},
	}
}

func TestWGQuick(t *testing.T) {
	want := `# phone, which reaches the mesh through web1
[Interface]
PrivateKey = AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAEA=
Address = fd00::77/128, 10.99.0.9/32
MTU = 1420

[Peer]
# web1
PublicKey = AgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=
PresharedKey = AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=
AllowedIPs = 10.99.0.0/24, fd00::/64
Endpoint = [2001:db8::1]:51820
PersistentKeepalive = 25
`
	if diff := cmp.Diff(want, wgconf.WGQuick(phone())); diff != "" {
		t.Error(diff)
	}
}

// TestWG has what wg(8) refuses left out: addresses, the MTU, and secrets that are hidden.
func TestWG(t *testing.T) {
	c := phone()
	c.Interface.PrivateKey, c.Peers[0].PresharedKey = schema.SecretText(schema.Hidden), schema.Secret{}
	c.Interface.ListenPort, c.Interface.FirewallMark = 51820, 0x20
	want := `# phone, which reaches the mesh through web1
[Interface]
# PrivateKey = (hidden)
ListenPort = 51820
FwMark = 0x20

[Peer]
# web1
PublicKey = AgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=
AllowedIPs = 10.99.0.0/24, fd00::/64
Endpoint = [2001:db8::1]:51820
PersistentKeepalive = 25
`
	if diff := cmp.Diff(want, wgconf.WG(c)); diff != "" {
		t.Error(diff)
	}
}

func TestNetworkManager(t *testing.T) {
	want := `# phone, which reaches the mesh through web1

[connection]
id=phone
uuid=01000000-0000-0000-0000-000000000000
type=wireguard
interface-name=phone

[wireguard]
private-key=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAEA=
mtu=1420

[wireguard-peer.AgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=]
endpoint=[2001:db8::1]:51820
preshared-key=AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=
preshared-key-flags=0
allowed-ips=10.99.0.0/24;fd00::/64;
persistent-keepalive=25

[ipv4]
method=manual
address1=10.99.0.9/32

[ipv6]
method=manual
address1=fd00::77/128
`
	if diff := cmp.Diff(want, wgconf.NetworkManager(phone(), uuid.UUID{1})); diff != "" {
		t.Error(diff)
	}
}

func TestRouterOS(t *testing.T) {
	want := `# phone, which reaches the mesh through web1
/interface/wireguard/add name="phone" private-key="AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAEA=" mtu="1420"
/ipv6/address/add address="fd00::77/128" interface="phone" advertise="no"
/ip/address/add address="10.99.0.9/32" interface="phone"
/interface/wireguard/peers/add interface="phone" comment="web1" public-key="AgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=" preshared-key="AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=" endpoint-address="2001:db8::1" endpoint-port="51820" allowed-address="10.99.0.0/24,fd00::/64" persistent-keepalive="25s"
/ip/route/add dst-address="10.99.0.0/24" gateway="phone"
/ipv6/route/add dst-address="fd00::/64" gateway="phone"
`
	if diff := cmp.Diff(want, wgconf.RouterOS(phone())); diff != "" {
		t.Error(diff)
	}
}

// TestNamesOfOthers has a machine whose name tries to be more than a name.
func TestNamesOfOthers(t *testing.T) {
	const hostile = "a\"; /user/add name=x $y ?\\\r\n[Peer]\u2028PublicKey = z"
	c := phone()
	c.Title, c.Peers[0].Name = hostile, hostile
	for format, text := range map[string]string{
		"wg-quick": wgconf.WGQuick(c), "wg": wgconf.WG(c), "NetworkManager": wgconf.NetworkManager(c, uuid.UUID{}), "RouterOS": wgconf.RouterOS(c),
	} {
		clean := phone()
		clean.Title, clean.Peers[0].Name = "x", "x"
		wants := map[string]string{
			"wg-quick": wgconf.WGQuick(clean), "wg": wgconf.WG(clean), "NetworkManager": wgconf.NetworkManager(clean, uuid.UUID{}), "RouterOS": wgconf.RouterOS(clean),
		}
		if got, want := strings.Count(text, "\n"), strings.Count(wants[format], "\n"); got != want || strings.Contains(text, "\r") {
			t.Errorf("%s has %d lines, want %d:\n%s", format, got, want, text)
		}
	}
	if text := wgconf.RouterOS(c); !strings.Contains(text, `comment="a\"; /user/add name=x \$y \?\\`) {
		t.Errorf("the name is not quoted:\n%s", text)
	}
}

func TestPictures(t *testing.T) {
	code, err := wgconf.QR(phone())
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimRight(code, "\r\n"), "\n")
	for _, line := range lines {
		if n := len([]rune(strings.TrimRight(line, "\r"))); n > 80 {
			t.Errorf("a line has %d columns", n)
		}
	}
	data, err := wgconf.PNG(phone())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := png.Decode(bytes.NewReader(data)); err != nil {
		t.Error(err)
	}
	big := phone()
	for i := range 200 {
		big.Peers[0].AllowedIPs = append(big.Peers[0].AllowedIPs, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 1, byte(i), 0}), 24))
	}
	if _, err := wgconf.QR(big); err == nil || !strings.Contains(err.Error(), "write wg-quick's file instead") {
		t.Errorf("what does not fit is the error %v", err)
	}
}
