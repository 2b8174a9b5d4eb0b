package netlinkapply

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/netlinkapply/netattr"
	"github.com/spanmesh/span/netlinkapply/wgdevice"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/state"
)

// The numbers of the tests' messages.
const (
	testFamily   = 30
	testSequence = 7
)

// message appends a message to a datagram.
func message(datagram []byte, kind, flags uint16, content []byte) []byte {
	datagram = binary.NativeEndian.AppendUint32(datagram, uint32(unix.SizeofNlMsghdr+len(content)))
	datagram = binary.NativeEndian.AppendUint16(datagram, kind)
	datagram = binary.NativeEndian.AppendUint16(datagram, flags)
	datagram = binary.NativeEndian.AppendUint32(datagram, testSequence)
	datagram = binary.NativeEndian.AppendUint32(datagram, 1234)
	datagram = append(datagram, content...)
	return append(datagram, make([]byte, netattr.Align(len(datagram))-len(datagram))...)
}

// part appends a message of WireGuard with attributes.
func part(datagram []byte, flags uint16, write func(*attributes)) []byte {
	a := attributes{buffer: []byte{unix.WG_CMD_GET_DEVICE, unix.WG_GENL_VERSION, 0, 0}}
	write(&a)
	return message(datagram, testFamily, flags|unix.NLM_F_MULTI, a.buffer)
}

func finish(datagram []byte, code int32) []byte {
	return message(datagram, unix.NLMSG_DONE, unix.NLM_F_MULTI, binary.NativeEndian.AppendUint32(nil, uint32(code)))
}

func (a *attributes) numbers(kind uint16, values ...uint64) {
	var b []byte
	for _, v := range values {
		b = binary.NativeEndian.AppendUint64(b, v)
	}
	a.add(kind, b)
}

// device writes the settings of a device, as wg_get_device_dump does.
func (a *attributes) device() {
	a.add16(unix.WGDEVICE_A_LISTEN_PORT, 51820)
	a.add(unix.WGDEVICE_A_FWMARK, binary.NativeEndian.AppendUint32(nil, 0xffffffff))
	a.add(unix.WGDEVICE_A_IFNAME, []byte("kubespan\x00"))
	a.add(unix.WGDEVICE_A_PRIVATE_KEY, make32(9))
	a.add(unix.WGDEVICE_A_PUBLIC_KEY, make32(10))
}

func make32(first byte) []byte { return append([]byte{first}, make([]byte, 31)...) }

// fullPeer writes a peer as get_peer does; the networks are those that fit.
func (a *attributes) fullPeer(p state.Peer) {
	at := a.open(0)
	a.add(unix.WGPEER_A_PUBLIC_KEY, p.PublicKey[:])
	secret := p.PresharedKey.Bytes()
	a.add(unix.WGPEER_A_PRESHARED_KEY, secret[:])
	seconds := max(0, p.LastHandshake.Unix())
	a.numbers(unix.WGPEER_A_LAST_HANDSHAKE_TIME, uint64(seconds), uint64(p.LastHandshake.Nanosecond()))
	a.add16(unix.WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL, uint16(p.Keepalive.Seconds()))
	a.numbers(unix.WGPEER_A_TX_BYTES, uint64(p.TransmitBytes))
	a.numbers(unix.WGPEER_A_RX_BYTES, uint64(p.ReceiveBytes))
	a.add(unix.WGPEER_A_PROTOCOL_VERSION, []byte{1, 0, 0, 0})
	if p.Endpoint.IsValid() {
		a.add(unix.WGPEER_A_ENDPOINT, sockaddr(nil, p.Endpoint))
	}
	a.networks(p.AllowedIPs)
	a.end(at)
}

// moreOf writes the rest of a peer.
func (a *attributes) moreOf(key mesh.Key, networks ...netip.Prefix) {
	at := a.open(0)
	a.add(unix.WGPEER_A_PUBLIC_KEY, key[:])
	a.networks(networks)
	a.end(at)
}

func (a *attributes) networks(networks []netip.Prefix) {
	list := a.open(unix.WGPEER_A_ALLOWEDIPS)
	for _, n := range networks {
		a.network(n)
	}
	a.end(list)
}

func (a *attributes) peers(write func()) {
	list := a.open(unix.WGDEVICE_A_PEERS)
	write()
	a.end(list)
}

// readDump reads datagrams as readDevice does.
func readDump(d *wgdevice.Device, datagrams ...[]byte) error {
	d.Begin(kernelFormat)
	dump := deviceDump{device: d, family: testFamily, sequence: testSequence}
	for _, datagram := range datagrams {
		if err := dump.add(datagram); err != nil {
			return err
		}
	}
	if !dump.done || dump.interrupted {
		return errors.New("not whole")
	}
	return d.End()
}

func prefixes(texts ...string) (all []netip.Prefix) {
	for _, text := range texts {
		all = append(all, netip.MustParsePrefix(text))
	}
	return all
}

var values = cmpopts.EquateComparable(netip.AddrPort{}, netip.Prefix{}, mesh.PrivateKey{})

// examplePeers are a peer with everything, one with nothing, and one whose values are the greatest.
func examplePeers() []state.Peer {
	return []state.Peer{
		{PublicKey: mesh.Key{1}, PresharedKey: mesh.SecretKey([32]byte{3}), Endpoint: netip.MustParseAddrPort("192.0.2.1:51820"), Keepalive: 25 * time.Second,
			AllowedIPs: prefixes("10.0.0.0/24", "10.1.0.0/32", "fd00::/64"), LastHandshake: time.Unix(1700000000, 5), ReceiveBytes: 1, TransmitBytes: 2},
		{PublicKey: mesh.Key{2}},
		{PublicKey: mesh.Key{3}, Endpoint: netip.MustParseAddrPort("[2001:db8::1]:65535"), Keepalive: 65535 * time.Second, AllowedIPs: prefixes("0.0.0.0/0", "::/0"),
			ReceiveBytes: 1<<63 - 1, TransmitBytes: 1<<63 - 1},
	}
}

func TestDeviceDump(t *testing.T) {
	peers := examplePeers()
	whole := part(nil, 0, func(a *attributes) {
		a.device()
		a.peers(func() {
			for _, p := range []int{2, 0, 1} { // not sorted
				a.fullPeer(peers[p])
			}
		})
	})
	firstPart := func(a *attributes) {
		a.device()
		a.peers(func() {
			first := peers[0]
			first.AllowedIPs = first.AllowedIPs[:1]
			a.fullPeer(first)
		})
	}
	rest := func(a *attributes) {
		a.peers(func() {
			a.moreOf(peers[0].PublicKey, peers[0].AllowedIPs[1])
			a.moreOf(peers[0].PublicKey, peers[0].AllowedIPs[2])
			a.fullPeer(peers[1])
			a.fullPeer(peers[2])
		})
	}
	for name, datagrams := range map[string][][]byte{
		"one datagram":                  {finish(slices.Clone(whole), 0)},
		"the end in another":            {whole, finish(nil, 0)},
		"networks in several messages":  {finish(part(part(nil, 0, firstPart), 0, rest), 0)},
		"networks in several datagrams": {part(nil, 0, firstPart), part(nil, 0, rest), finish(nil, 0)},
		"messages of something else":    {message(nil, unix.NLMSG_NOOP, 0, nil), whole, message(nil, unix.NLMSG_ERROR, 0, make([]byte, 20)), finish(nil, 0)},
	} {
		var d wgdevice.Device
		for range 2 {
			if err := readDump(&d, datagrams...); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if diff := cmp.Diff(peers, d.Peers(), values); diff != "" {
				t.Errorf("%s: peers (-want +got):\n%s", name, diff)
			}
			if d.PrivateKey != mesh.SecretKey([32]byte{9}) || d.ListenPort != 51820 || d.FirewallMark != 0xffffffff {
				t.Errorf("%s: the device is %+v", name, d)
			}
		}
	}
}

// TestListWithoutPadding has a list of networks that ends without padding, and goes on in another
// message.
func TestListWithoutPadding(t *testing.T) {
	network := prefixes("10.0.0.0/24", "10.1.0.0/24")
	datagram := part(nil, 0, func(a *attributes) {
		a.peers(func() {
			at := a.open(0)
			a.add(unix.WGPEER_A_PUBLIC_KEY, make32(1))
			var list attributes
			list.network(network[0])
			const padding = 3 // of the mask, which is the last attribute
			binary.NativeEndian.PutUint16(list.buffer, uint16(len(list.buffer)-padding))
			a.add(unix.WGPEER_A_ALLOWEDIPS, list.buffer[:len(list.buffer)-padding])
			a.end(at)
			a.moreOf(mesh.Key{1}, network[1])
		})
	})
	var d wgdevice.Device
	if err := readDump(&d, finish(datagram, 0)); err != nil || len(d.Peers()) != 1 || !slices.Equal(d.Peers()[0].AllowedIPs, network) {
		t.Errorf("read %v, %v", d.Peers(), err)
	}
}

// TestEarlierDumpIsSkipped has what is left of a request before.
func TestEarlierDumpIsSkipped(t *testing.T) {
	left := finish(part(nil, unix.NLM_F_DUMP_INTR, func(a *attributes) { a.peers(func() { a.moreOf(mesh.Key{9}) }) }), 0)
	for at := 0; at < len(left); at += netattr.Align(int(binary.NativeEndian.Uint32(left[at:]))) {
		binary.NativeEndian.PutUint32(left[at+8:], testSequence-1)
	}
	var d wgdevice.Device
	if err := readDump(&d, left, finish(part(nil, 0, (*attributes).device), 0)); err != nil || len(d.Peers()) != 0 || d.ListenPort != 51820 {
		t.Errorf("%d peers, %v", len(d.Peers()), err)
	}
}

func TestInterruptedDump(t *testing.T) {
	d := deviceDump{device: new(wgdevice.Device), family: testFamily, sequence: testSequence}
	d.device.Begin(kernelFormat)
	if err := d.add(part(nil, unix.NLM_F_DUMP_INTR, (*attributes).device)); err != nil || d.done || !d.interrupted {
		t.Errorf("the first message: %+v, %v", d, err)
	}
	if err := d.add(finish(nil, 0)); err != nil || !d.done || !d.interrupted {
		t.Errorf("the last message: %+v, %v", d, err)
	}
}

func TestMessagesThatAreNoDevice(t *testing.T) {
	peerWith := func(write func(*attributes)) []byte {
		return finish(part(nil, 0, func(a *attributes) {
			a.peers(func() {
				at := a.open(0)
				a.add(unix.WGPEER_A_PUBLIC_KEY, make32(1))
				write(a)
				a.end(at)
			})
		}), 0)
	}
	attribute := func(kind uint16, size int) []byte {
		return peerWith(func(a *attributes) { a.add(kind, make([]byte, size)) })
	}
	network := func(write func(*attributes)) []byte {
		return peerWith(func(a *attributes) {
			list := a.open(unix.WGPEER_A_ALLOWEDIPS)
			at := a.open(0)
			write(a)
			a.end(at)
			a.end(list)
		})
	}
	good := finish(part(nil, 0, (*attributes).device), 0)
	for name, datagram := range map[string][]byte{
		"nothing":                    {},
		"part of a header":           good[:9],
		"part of a message":          good[:40],
		"a length of nothing":        make([]byte, 40),
		"no generic header":          message(nil, testFamily, 0, []byte{1, 0}),
		"an error":                   message(nil, unix.NLMSG_ERROR, 0, append(binary.NativeEndian.AppendUint32(nil, 0xffffffff), make([]byte, 16)...)),
		"an error without a number":  message(nil, unix.NLMSG_ERROR, 0, []byte{1}),
		"an error at the end":        finish(nil, -int32(unix.ENODEV)),
		"an attribute of no length":  message(nil, testFamily, 0, make([]byte, 8)),
		"a cut attribute":            message(nil, testFamily, 0, []byte{0, 0, 0, 0, 99, 0, 1, 0}),
		"a peer without a key":       finish(part(nil, 0, func(a *attributes) { a.peers(func() { a.end(a.open(0)) }) }), 0),
		"a short key":                finish(part(nil, 0, func(a *attributes) { a.add(unix.WGDEVICE_A_PRIVATE_KEY, make([]byte, 31)) }), 0),
		"a short port":               finish(part(nil, 0, func(a *attributes) { a.add(unix.WGDEVICE_A_LISTEN_PORT, []byte{1}) }), 0),
		"a short preshared key":      attribute(unix.WGPEER_A_PRESHARED_KEY, 1),
		"an endpoint of no family":   attribute(unix.WGPEER_A_ENDPOINT, 17),
		"a time of 32 bits":          attribute(unix.WGPEER_A_LAST_HANDSHAKE_TIME, 8),
		"a counter of 32 bits":       attribute(unix.WGPEER_A_RX_BYTES, 4),
		"a keepalive of 32 bits":     attribute(unix.WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL, 4),
		"a network that is cut off":  attribute(unix.WGPEER_A_ALLOWEDIPS, 5),
		"a network without anything": network(func(*attributes) {}),
		"a network without a mask":   network(func(a *attributes) { a.add(unix.WGALLOWEDIP_A_IPADDR, make([]byte, 4)) }),
		"a network of too many bits": network(func(a *attributes) {
			a.add(unix.WGALLOWEDIP_A_IPADDR, make([]byte, 4))
			a.add(unix.WGALLOWEDIP_A_CIDR_MASK, []byte{33})
		}),
		"a network of another family": network(func(a *attributes) {
			a.add(unix.WGALLOWEDIP_A_IPADDR, make([]byte, 6))
			a.add(unix.WGALLOWEDIP_A_CIDR_MASK, []byte{1})
		}),
	} {
		var d wgdevice.Device
		if err := readDump(&d, datagram); err == nil || d.Peers() != nil {
			t.Errorf("%s: %d peers, %v", name, len(d.Peers()), err)
		}
	}
	if err := readDump(new(wgdevice.Device), finish(nil, -int32(unix.ENODEV))); !errors.Is(err, unix.ENODEV) {
		t.Errorf("the error at the end is %v", err)
	}
}

// dumpOf returns the datagrams of a device with n peers. Counters are those of a round.
func dumpOf(n, round int) (datagrams [][]byte) {
	const inMessage = 100
	for first := 0; first < n; first += inMessage {
		datagrams = append(datagrams, part(nil, 0, func(a *attributes) {
			if first == 0 {
				a.device()
			}
			a.peers(func() {
				for i := first; i < min(n, first+inMessage); i++ {
					a.fullPeer(state.Peer{PublicKey: mesh.Key{byte(i), byte(i >> 8)}, PresharedKey: mesh.SecretKey([32]byte{2}),
						Endpoint:   netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, 1}), uint16(1000+i)),
						AllowedIPs: prefixes(fmt.Sprintf("10.%d.%d.0/24", i>>8, i&0xff), fmt.Sprintf("fd00:%x::/64", i)),
						Keepalive:  25 * time.Second, LastHandshake: time.Unix(int64(1700000000+round), 1), ReceiveBytes: int64(round), TransmitBytes: int64(2 * round)})
				}
			})
		}))
	}
	return append(datagrams, finish(nil, 0))
}

func TestDumpMakesNoGarbage(t *testing.T) {
	const peers = 1000
	rounds := [][][]byte{dumpOf(peers, 1), dumpOf(peers, 2)}
	var d wgdevice.Device
	round := 0
	read := func() {
		if err := readDump(&d, rounds[round%len(rounds)]...); err != nil || len(d.Peers()) != peers {
			t.Fatal(len(d.Peers()), err)
		}
		round++
	}
	read()
	if n := testing.AllocsPerRun(20, read); n > 20 {
		t.Errorf("a reading of %d peers is %.0f allocations", peers, n)
	}
}

func BenchmarkDeviceDump(b *testing.B) {
	for _, n := range []int{1000, 5000} {
		b.Run(fmt.Sprintf("peers=%d", n), func(b *testing.B) {
			var d wgdevice.Device
			datagrams := dumpOf(n, 1)
			b.ReportAllocs()
			for b.Loop() {
				if err := readDump(&d, datagrams...); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// FuzzDeviceDump reads a datagram after another one into one device, and compares it with a new one.
func FuzzDeviceDump(f *testing.F) {
	peers := examplePeers()
	whole := finish(part(nil, 0, func(a *attributes) {
		a.device()
		a.peers(func() {
			for _, p := range peers {
				a.fullPeer(p)
			}
			a.moreOf(peers[1].PublicKey, prefixes("10.9.0.0/16", "::ffff:10.9.0.0/112")...)
		})
	}), 0)
	f.Add(whole, slices.Concat(dumpOf(2, 1)...))
	f.Add(finish(nil, -19), whole)
	f.Fuzz(func(t *testing.T, first, second []byte) {
		var kept, fresh wgdevice.Device
		_ = readDump(&kept, first)
		err := readDump(&kept, second)
		if again := readDump(&fresh, second); fmt.Sprint(err) != fmt.Sprint(again) {
			t.Fatalf("read again: %v, read first: %v", err, again)
		}
		if diff := cmp.Diff(fresh.Peers(), kept.Peers(), values, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("peers (-first +again):\n%s", diff)
		}
		canonical := state.State{Peers: slices.Clone(kept.Peers())}
		canonical.Normalize()
		if diff := cmp.Diff(canonical.Peers, kept.Peers(), values, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("not in canonical form:\n%s", diff)
		}
	})
}
