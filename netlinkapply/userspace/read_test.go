package userspace

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestDeviceIsReadBack(t *testing.T) {
	_, conn := newDevice(t)
	key, port, mark := [32]byte{8, 31: 64}, 0, uint32(0xffffffff)
	peer := PeerSetting{PublicKey: [32]byte{1}, PresharedKey: [32]byte{3}, HasPresharedKey: true,
		Endpoint: netip.MustParseAddrPort("[fe80::1%lo]:51820"), Keepalive: 25, HasKeepalive: true,
		AllowedIPs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("fd00::1/128")}}
	if err := configure(conn, DeviceSetting{PrivateKey: &key, ListenPort: &port, FirewallMark: &mark}, slices.Values([]PeerSetting{peer})); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte("get=1\n\n")); err != nil {
		t.Fatal(err)
	}
	d, err := parseDevice(conn)
	if err != nil {
		t.Fatal(err)
	}
	if d.PrivateKey != key || uint32(d.FirewallMark) != mark || len(d.Peers) != 1 {
		t.Fatalf("the device is %+v", d)
	}
	got := d.Peers[0]
	if got.PublicKey != peer.PublicKey || got.PresharedKey != peer.PresharedKey || got.Endpoint.String() != peer.Endpoint.String() ||
		got.PersistentKeepaliveInterval != 25*time.Second || len(got.AllowedIPs) != 2 || !got.LastHandshakeTime.IsZero() {
		t.Errorf("the peer is %+v", got)
	}
}

func TestAnswersThatAreNoDevice(t *testing.T) {
	for _, text := range []string{
		"", "\x00", "errno=x\n\n", "private_key=12\n\n", "listen_port=1\n", "listen_port=x\n\n", "no setting\n\n",
		"public_key=" + strings.Repeat("0", 64) + "\nendpoint=nowhere\n\n", strings.Repeat("x", 1<<20),
	} {
		if d, err := parseDevice(strings.NewReader(text)); err == nil {
			t.Errorf("%.20q is %+v", text, d)
		}
	}
	if _, err := parseDevice(strings.NewReader("errno=-98\n\n")); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("the error is %v", err)
	}
	d, err := parseDevice(strings.NewReader("later=than this\npublic_key=" + strings.Repeat("0", 64) +
		"\nlast_handshake_time_sec=1\nlast_handshake_time_nsec=0\ntx_bytes=1\nrx_bytes=2\nprotocol_version=1\nlater=1\nerrno=0\n\n"))
	if err != nil {
		t.Fatal(err)
	}
	if !d.Peers[0].LastHandshakeTime.Equal(time.Unix(1, 0)) || d.Peers[0].ReceiveBytes != 2 {
		t.Errorf("the device is %+v", d)
	}
}
