package sharedport

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
)

// packet4 is a datagram of 4 bytes from 192.0.2.1:3478 to port 51820, with options in IP's header.
func packet4() []byte {
	header := []byte{0x46, 0, 0, 0, 0, 0, 0x40, 0, 64, protocolUDP, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2, 1, 1, 1, 0}
	return append(header, datagram(3478, 51820, []byte("text"))...)
}

func TestParse4(t *testing.T) {
	from, payload, ok := parse4(packet4(), 51820)
	if !ok || from != netip.MustParseAddrPort("192.0.2.1:3478") || string(payload) != "text" {
		t.Errorf("%v %q %v", from, payload, ok)
	}
	for name, change := range map[string]func([]byte) []byte{
		"cut in IP's header":         func(p []byte) []byte { return p[:19] },
		"cut in its options":         func(p []byte) []byte { return p[:22] },
		"cut in UDP's header":        func(p []byte) []byte { return p[:31] },
		"cut in the payload":         func(p []byte) []byte { return p[:len(p)-1] },
		"a header that is too short": func(p []byte) []byte { p[0] = 0x44; return p },
		"IPv6":                       func(p []byte) []byte { p[0] = 0x66; return p },
		"TCP":                        func(p []byte) []byte { p[9] = 6; return p },
		"a first fragment":           func(p []byte) []byte { p[6] = 0x20; return p },
		"a later fragment":           func(p []byte) []byte { p[7] = 1; return p },
		"another port":               func(p []byte) []byte { p[27]++; return p },
		"a length below the header":  func(p []byte) []byte { p[28], p[29] = 0, 7; return p },
	} {
		if _, _, ok := parse4(change(packet4()), 51820); ok {
			t.Errorf("%s is taken", name)
		}
	}
}

// FuzzParse4 takes any packet: what is parsed is part of it.
func FuzzParse4(f *testing.F) {
	f.Add(packet4(), uint16(51820))
	f.Add([]byte{0x45}, uint16(0))
	f.Fuzz(func(t *testing.T, packet []byte, port uint16) {
		from, payload, ok := parse4(packet, port)
		if ok && (!from.Addr().Is4() || !bytes.Contains(packet, payload) || len(payload) > len(packet)-minHeader4-udpHeader) {
			t.Errorf("%v %q", from, payload)
		}
	})
}

// TestSign4 sums what was signed, which is all ones (RFC 768).
func TestSign4(t *testing.T) {
	from, to := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("198.51.100.7")
	for _, payload := range []string{"", "a", "ab", "\xff\xff\xff\xff"} {
		d := datagram(51820, 3478, []byte(payload))
		sign4(d, from, to)
		source, destination := from.As4(), to.As4()
		sum := add(d, add(destination[:], add(source[:], protocolUDP+uint32(len(d)))))
		for sum>>16 != 0 {
			sum = sum&0xffff + sum>>16
		}
		if sum != 0xffff || binary.BigEndian.Uint16(d[6:]) == 0 {
			t.Errorf("%q has the checksum %#x, and sums up to %#x", payload, d[6:8], sum)
		}
	}
}
