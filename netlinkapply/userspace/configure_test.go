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

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun/tuntest"
)

// newDevice returns a WireGuard device without a network, and a connection to configure it.
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
	first, second := [32]byte{1}, [32]byte{2}
	err := configure(conn, DeviceSetting{}, slices.Values([]PeerSetting{
		{
			PublicKey: first, PresharedKey: [32]byte{3}, HasPresharedKey: true, Endpoint: netip.MustParseAddrPort("[2001:db8::1]:51820"),
			Keepalive: 25, HasKeepalive: true, ReplaceAllowedIPs: true,
			AllowedIPs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("fd00::1/128")},
		},
		{PublicKey: second, Endpoint: netip.MustParseAddrPort("[::ffff:192.0.2.1]:1")},
		{PublicKey: [32]byte{9}, UpdateOnly: true},
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

	if err := configure(conn, DeviceSetting{}, slices.Values([]PeerSetting{
		{PublicKey: first, UpdateOnly: true, ReplaceAllowedIPs: true},
		{PublicKey: second, Remove: true, UpdateOnly: true},
	})); err != nil {
		t.Fatal(err)
	}
	if got, err = wg.IpcGet(); err != nil || strings.Contains(got, "allowed_ip") || strings.Count(got, "public_key=") != 1 {
		t.Errorf("%v, and left are\n%s", err, got)
	}
}

// TestRefusal sends many more peers after the one that is refused, which the process does not read.
func TestRefusal(t *testing.T) {
	_, conn := newDevice(t)
	peers := make([]PeerSetting, 1000)
	for i := range peers {
		peers[i] = PeerSetting{PublicKey: [32]byte{1, byte(i), byte(i >> 8)}}
	}
	// The text of an invalid prefix is refused.
	peers[10].AllowedIPs = []netip.Prefix{{}}
	if err := configure(conn, DeviceSetting{}, slices.Values(peers)); !errors.Is(err, unix.EINVAL) {
		t.Errorf("the error is %v", err)
	}
}

func TestUnknownAnswers(t *testing.T) {
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
