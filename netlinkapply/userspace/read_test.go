package userspace

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/netlinkapply/wgdevice"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/state"
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
	var d wgdevice.Device
	if err := parseDevice(conn, &d); err != nil {
		t.Fatal(err)
	}
	if d.PrivateKey.Bytes() != key || d.FirewallMark != mark {
		t.Errorf("the device is %+v", d)
	}
	want := []state.Peer{{PublicKey: peer.PublicKey, PresharedKey: mesh.SecretKey(peer.PresharedKey), Endpoint: peer.Endpoint,
		Keepalive: 25 * time.Second, AllowedIPs: peer.AllowedIPs}}
	if diff := cmp.Diff(want, d.Peers(), values); diff != "" {
		t.Errorf("peers (-want +got):\n%s", diff)
	}
}

// values compares values that have no exported fields.
var values = cmpopts.EquateComparable(netip.AddrPort{}, netip.Prefix{}, mesh.PrivateKey{})

const aKey = "public_key=0100000000000000000000000000000000000000000000000000000000000000\n"

func TestAnswersThatAreNoDevice(t *testing.T) {
	for _, text := range []string{
		"", "\x00", "errno=x\n\n", "private_key=12\n\n", "listen_port=1\n", "listen_port=x\n\n", "no setting\n\n",
		aKey + "endpoint=nowhere\n\n", strings.Repeat("x", 1<<20), aKey + aKey + "\n", aKey + "allowed_ip=10.0.0.0\n\n", aKey + "allowed_ip=\n\n",
		"listen_port=65536\n\n", "fwmark=4294967296\n\n", "fwmark=-1\n\n", aKey + "rx_bytes=-1\n\n", aKey + "tx_bytes=9223372036854775808\n\n",
		aKey + "persistent_keepalive_interval=65536\n\n", aKey + "last_handshake_time_sec=1\nlast_handshake_time_nsec=1000000000\n\n",
		"private_key=" + strings.Repeat("x", 64) + "\n\n",
	} {
		var d wgdevice.Device
		if err := parseDevice(strings.NewReader(text), &d); err == nil || d.Peers() != nil {
			t.Errorf("%.90q is %+v", text, d.Peers())
		}
	}
	if err := parseDevice(strings.NewReader("errno=-98\n\n"), new(wgdevice.Device)); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("the error is %v", err)
	}
	var d wgdevice.Device
	if err := parseDevice(strings.NewReader("later=than this\n"+aKey+
		"last_handshake_time_sec=1\nlast_handshake_time_nsec=5\ntx_bytes=1\nrx_bytes=2\nprotocol_version=1\nlater=1\nerrno=0\n\n"), &d); err != nil {
		t.Fatal(err)
	}
	want := []state.Peer{{PublicKey: mesh.Key{1}, LastHandshake: time.Unix(1, 5), ReceiveBytes: 2, TransmitBytes: 1}}
	if diff := cmp.Diff(want, d.Peers(), values); diff != "" {
		t.Errorf("peers (-want +got):\n%s", diff)
	}
}

func TestErrorsHaveNoSecret(t *testing.T) {
	const secret = "5ec4e7"
	for _, text := range []string{secret + "\n\n", "private_key=" + secret + "\n\n", aKey + "preshared_key=" + strings.Repeat(secret, 11)[:63] + "x\n\n", aKey + "allowed_ip=x\npreshared_key" + secret + "\n\n"} {
		if err := parseDevice(strings.NewReader(text), new(wgdevice.Device)); err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// answerOf returns an answer of n peers, as wireguard-go writes it. Counters are those of a round.
func answerOf(n, round int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "private_key=%064x\nlisten_port=51820\nfwmark=32\n", 1)
	for i := range n {
		i = (i*7 + round) % n // the order is another each time
		fmt.Fprintf(&b, "public_key=%064x\npreshared_key=%064x\nprotocol_version=1\nendpoint=192.0.2.1:%d\n", i+1, 2, 1000+i)
		fmt.Fprintf(&b, "last_handshake_time_sec=%d\nlast_handshake_time_nsec=%d\ntx_bytes=%d\nrx_bytes=%d\n", 1700000000+round, round, 148*round, 92*round)
		fmt.Fprintf(&b, "persistent_keepalive_interval=25\nallowed_ip=10.%d.%d.0/24\nallowed_ip=fd00:%x::/64\n", i>>8, i&0xff, i)
	}
	return b.String() + "errno=0\n\n"
}

// TestReadingMakesNoGarbage reads answers of which the counters are others each time.
func TestReadingMakesNoGarbage(t *testing.T) {
	const peers = 1000
	var d wgdevice.Device
	var answers []string
	for round := range 8 {
		answers = append(answers, answerOf(peers, round))
	}
	round := 0
	read := func() {
		if err := parseDevice(strings.NewReader(answers[round%len(answers)]), &d); err != nil || len(d.Peers()) != peers {
			t.Fatal(len(d.Peers()), err)
		}
		round++
	}
	read()
	if n := testing.AllocsPerRun(20, read); n > 20 {
		t.Errorf("a reading of %d peers is %.0f allocations", peers, n)
	}
	if p := d.Peers()[peers-1]; p.PublicKey != (mesh.Key{30: peers >> 8, 31: peers & 0xff}) || len(p.AllowedIPs) != 2 || p.Endpoint.Port() != 999+peers {
		t.Errorf("the last peer is %+v", p)
	}
}

func BenchmarkParseDevice(b *testing.B) {
	for _, n := range []int{1000, 5000} {
		b.Run(fmt.Sprintf("peers=%d", n), func(b *testing.B) {
			var d wgdevice.Device
			text := answerOf(n, 1)
			b.ReportAllocs()
			for b.Loop() {
				if err := parseDevice(strings.NewReader(text), &d); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// FuzzParseDevice reads two answers into one device, and compares it with a new one.
func FuzzParseDevice(f *testing.F) {
	f.Add(answerOf(2, 0), answerOf(3, 1))
	f.Add(aKey+"endpoint=[fe80::1%eth0]:1\nallowed_ip=::ffff:10.0.0.0/104\n\n", aKey+"allowed_ip=10.0.0.0/8\nallowed_ip=10.0.0.1/8\n\n")
	f.Add("errno=-98\n\n", "private_key=12\n\n")
	f.Add(aKey+"last_handshake_time_sec=9223372036854775807\nlast_handshake_time_nsec=1\n\n", "listen_port=65535\nfwmark=0x1\n\n")
	f.Fuzz(func(t *testing.T, first, second string) {
		var kept, fresh wgdevice.Device
		_ = parseDevice(strings.NewReader(first), &kept)
		before := slices.Clone(kept.Peers())
		of := make([][]netip.Prefix, len(before))
		for i := range before {
			of[i] = slices.Clone(before[i].AllowedIPs)
		}
		err := parseDevice(strings.NewReader(second), &kept)
		if again := parseDevice(strings.NewReader(second), &fresh); (err == nil) != (again == nil) {
			t.Fatalf("read again: %v, read first: %v", err, again)
		}
		if diff := cmp.Diff(fresh.Peers(), kept.Peers(), values, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("peers (-first +again):\n%s", diff)
		}
		if kept.PrivateKey != fresh.PrivateKey || kept.ListenPort != fresh.ListenPort || kept.FirewallMark != fresh.FirewallMark {
			t.Fatalf("the device is %+v, and new %+v", kept, fresh)
		}
		for i := range before {
			if !slices.Equal(before[i].AllowedIPs, of[i]) {
				t.Fatal("the networks of an earlier reading were changed")
			}
		}
		canonical := state.State{Peers: slices.Clone(kept.Peers())}
		canonical.Normalize()
		if diff := cmp.Diff(canonical.Peers, kept.Peers(), values, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("not in canonical form:\n%s", diff)
		}
		for i, p := range kept.Peers() {
			if i > 0 && kept.Peers()[i-1].PublicKey.Compare(p.PublicKey) >= 0 {
				t.Fatal("the keys are not sorted, or not each once")
			}
		}
	})
}
