package userspace

import (
	"encoding/hex"
	"errors"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go4.org/netipx"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun/tuntest"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// newDevice is a WireGuard that sends nothing, with a way to configure it.
func newDevice(t *testing.T) (*device.Device, net.Conn) {
	t.Helper()
	wg := device.NewDevice(tuntest.NewChannelTUN().TUN(), conn.NewDefaultBind(), device.NewLogger(device.LogLevelSilent, ""))
	t.Cleanup(wg.Close)
	listener, err := net.Listen("unix", filepath.Join(t.TempDir(), "control"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	here, err := net.Dial("unix", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = here.Close() })
	there, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	go wg.IpcHandle(there)
	return wg, here
}

func TestPeersAreConfigured(t *testing.T) {
	wg, conn := newDevice(t)
	keepalive := 25 * time.Second
	first, second := wgtypes.Key{1}, wgtypes.Key{2}
	err := configure(conn, slices.Values([]wgtypes.PeerConfig{
		{
			PublicKey: first, PresharedKey: &wgtypes.Key{3}, Endpoint: &net.UDPAddr{IP: net.ParseIP("2001:db8::1"), Port: 51820},
			PersistentKeepaliveInterval: &keepalive, ReplaceAllowedIPs: true,
			AllowedIPs: []net.IPNet{*netipx.PrefixIPNet(netip.MustParsePrefix("10.0.0.0/24")), *netipx.PrefixIPNet(netip.MustParsePrefix("fd00::1/128"))},
		},
		{PublicKey: second, Endpoint: &net.UDPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1}},
		{PublicKey: wgtypes.Key{9}, UpdateOnly: true},
	}))
	if err != nil {
		t.Fatal(err)
	}
	got, err := wg.IpcGet()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		hex.EncodeToString(first[:]), "preshared_key=03", "endpoint=[2001:db8::1]:51820\n", "persistent_keepalive_interval=25\n",
		"allowed_ip=10.0.0.0/24\n", "allowed_ip=fd00::1/128\n", hex.EncodeToString(second[:]), "endpoint=192.0.2.1:1\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("there is no %s in\n%s", want, got)
		}
	}
	if n := strings.Count(got, "public_key="); n != 2 {
		t.Errorf("%d peers are there", n)
	}

	if err := configure(conn, slices.Values([]wgtypes.PeerConfig{
		{PublicKey: first, UpdateOnly: true, ReplaceAllowedIPs: true},
		{PublicKey: second, Remove: true, UpdateOnly: true},
	})); err != nil {
		t.Fatal(err)
	}
	if got, err = wg.IpcGet(); err != nil || strings.Contains(got, "allowed_ip") || strings.Count(got, "public_key=") != 1 {
		t.Errorf("%v, and left are\n%s", err, got)
	}
}

// TestRefusalIsNamed has more peers follow the one that is refused than are read
// after it.
func TestRefusalIsNamed(t *testing.T) {
	_, conn := newDevice(t)
	peers := make([]wgtypes.PeerConfig, 1000)
	for i := range peers {
		peers[i] = wgtypes.PeerConfig{PublicKey: wgtypes.Key{1, byte(i), byte(i >> 8)}}
	}
	peers[10].Endpoint = &net.UDPAddr{}
	if err := configure(conn, slices.Values(peers)); !errors.Is(err, unix.EINVAL) {
		t.Errorf("the error is %v", err)
	}
}

func TestStrangeAnswers(t *testing.T) {
	for _, text := range []string{"", "errno=0", "errno=\n", "no\n", strings.Repeat("x", 1000)} {
		if err := answer(strings.NewReader(text)); err == nil {
			t.Errorf("%q is no error", text)
		}
	}
	if err := answer(strings.NewReader("errno=-98\n\n")); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("the error is %v", err)
	}
	if err := answer(strings.NewReader("errno=0\n\n")); err != nil {
		t.Error(err)
	}
}
