package front_test

import (
	"net/netip"
	"testing"
	"time"
)

// BenchmarkRelay sends packets of 1420 bytes from one WireGuard device to another, by UDP or by TLS at
// one end. The devices run in the same process: the time is theirs, too.
func BenchmarkRelay(b *testing.B) {
	for _, secure := range []bool{false, true} {
		b.Run(map[bool]string{false: "UDP", true: "TLS"}[secure], func(b *testing.B) {
			s := start(b)
			at := s.at
			if secure {
				target, config := s.web(b)
				at = tunnel(b, target, config)
			}
			one, other := pair(b, s, at, s.at)
			ping(b, one, other)
			packet := ipv4(one.ip, other.ip, 1420)
			b.SetBytes(int64(len(packet)))
			const window = 64
			lost := 0
			b.ResetTimer()
			for sent := 0; sent < b.N; {
				n := min(window, b.N-sent)
				for range n {
					one.tun.Outbound <- packet
				}
				for range n {
					select {
					case <-other.tun.Inbound:
					case <-time.After(time.Second):
						lost++
					}
				}
				sent += n
			}
			b.ReportMetric(float64(lost), "lost")
		})
	}
}

// ipv4 returns a packet of IP between two addresses.
func ipv4(from, to netip.Addr, size int) []byte {
	b := make([]byte, size)
	b[0], b[2], b[3], b[8], b[9] = 0x45, byte(size>>8), byte(size), 64, 17
	copy(b[12:], from.AsSlice())
	copy(b[16:], to.AsSlice())
	return b
}
