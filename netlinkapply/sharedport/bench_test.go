package sharedport

import "testing"

// BenchmarkSend sends what is as large as a probe.
func BenchmarkSend(b *testing.B) {
	for name, loopback := range loopbacks {
		b.Run(name, func(b *testing.B) {
			server := listen(b, loopback)
			c, err := Open(51820, 0)
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = c.Close() }()
			b.ReportAllocs()
			for b.Loop() {
				if err := c.Send(addressOf(server), make([]byte, 64), 0); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
