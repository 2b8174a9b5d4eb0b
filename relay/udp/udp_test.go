package udp_test

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/spanmesh/span/relay/udp"
)

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

func listen(t testing.TB, address string) *udp.Conn {
	t.Helper()
	c, err := udp.Listen(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func dial(t testing.TB, to netip.AddrPort) *net.UDPConn {
	t.Helper()
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestAnswersFromTheAddressThatWasAsked has a client that takes answers from there alone.
func TestAnswersFromTheAddressThatWasAsked(t *testing.T) {
	for address, asked := range map[string][]string{":0": {"127.0.0.1", "127.0.0.2", "::1"}, "0.0.0.0:0": {"127.0.0.2"}, "127.0.0.1:0": {"127.0.0.1"}} {
		c := listen(t, address)
		if want := address != "127.0.0.1:0"; c.EveryAddress() != want {
			t.Errorf("%s: of every address: %v", address, !want)
		}
		r, s := c.NewReceiver(), c.NewSender()
		for _, at := range asked {
			client := dial(t, netip.AddrPortFrom(netip.MustParseAddr(at), c.LocalAddr().Port()))
			if _, err := client.Write([]byte("hello")); err != nil {
				t.Fatal(err)
			}
			if err := r.Receive(); err != nil {
				t.Fatal(err)
			}
			for p := range r.All() {
				if p.To.String() != at || p.From.String() != client.LocalAddr().String() {
					t.Errorf("from %v to %v", p.From, p.To)
				}
				s.Queue(p.From, p.To, p.Data)
			}
			if n := s.Flush(); n != 0 {
				t.Errorf("%d packets were not sent", n)
			}
			b := make([]byte, 100)
			if n, err := client.Read(b); err != nil || string(b[:n]) != "hello" {
				t.Errorf("%s at %s: %q, %v", address, at, b[:n], err)
			}
		}
	}
}

// TestManyPackets sends packets of several sizes to two receivers by turns. Each gets its own in
// order, however the kernel has carried them.
func TestManyPackets(t *testing.T) {
	from := listen(t, "127.0.0.1:0")
	to := [2]*udp.Conn{listen(t, "127.0.0.1:0"), listen(t, "127.0.0.1:0")}
	var want [2][][]byte
	s := from.NewSender()
	for i := range 300 {
		size := 1200
		if i%17 == 0 {
			size = 100 + i
		}
		p := bytes.Repeat([]byte{byte(i)}, size)
		want[i%2] = append(want[i%2], p)
		s.Queue(to[i%2].LocalAddr(), netip.Addr{}, p)
		if i%100 == 99 {
			if n := s.Flush(); n != 0 {
				t.Fatalf("%d packets were not sent", n)
			}
		}
	}
	for i, c := range to {
		r := c.NewReceiver()
		timer := time.AfterFunc(patience, c.Stop)
		var got [][]byte
		for len(got) < len(want[i]) {
			if err := r.Receive(); err != nil {
				t.Fatalf("after %d packets: %v", len(got), err)
			}
			for p := range r.All() {
				got = append(got, bytes.Clone(p.Data))
				if p.From != from.LocalAddr() {
					t.Fatalf("from %v", p.From)
				}
			}
		}
		timer.Stop()
		for n := range got {
			if !bytes.Equal(got[n], want[i][n]) {
				t.Fatalf("packet %d of receiver %d has %d bytes of %d, want %d of %d", n, i, len(got[n]), got[n][0], len(want[i][n]), want[i][n][0])
			}
		}
	}
}

// TestPacketsThatCannotBeSent are dropped, and what follows is sent.
func TestPacketsThatCannotBeSent(t *testing.T) {
	from, to := listen(t, "127.0.0.1:0"), listen(t, "127.0.0.1:0")
	s := from.NewSender()
	s.Queue(to.LocalAddr(), netip.MustParseAddr("192.0.2.1"), []byte("from an address that is not here"))
	s.Queue(netip.MustParseAddrPort("[2001:db8::1]:9"), netip.Addr{}, []byte("to another family"))
	s.Queue(to.LocalAddr(), netip.Addr{}, []byte("fine"))
	if n := s.Flush(); n != 2 {
		t.Errorf("%d packets were not sent, want 2", n)
	}
	r := to.NewReceiver()
	if err := r.Receive(); err != nil {
		t.Fatal(err)
	}
	for p := range r.All() {
		if string(p.Data) != "fine" {
			t.Errorf("got %q", p.Data)
		}
	}
}

// TestStop ends Receive. What comes then waits for the next process, which has the socket.
func TestStop(t *testing.T) {
	c := listen(t, "127.0.0.1:0")
	ended := make(chan error)
	go func() { ended <- c.NewReceiver().Receive() }()
	c.Stop()
	if err := <-ended; !errors.Is(err, udp.ErrStopped) {
		t.Errorf("Receive: %v", err)
	}
	client := dial(t, c.LocalAddr())
	if _, err := client.Write([]byte("waits")); err != nil {
		t.Fatal(err)
	}
	file, err := c.File()
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	packets, err := net.FilePacketConn(file)
	if err != nil {
		t.Fatal(err)
	}
	_ = file.Close()
	next, err := udp.New(packets.(*net.UDPConn))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = next.Close() }()
	r := next.NewReceiver()
	if err := r.Receive(); err != nil {
		t.Fatal(err)
	}
	for p := range r.All() {
		if string(p.Data) != "waits" {
			t.Errorf("got %q", p.Data)
		}
	}
}

// BenchmarkForward is what a relay does beside routing: it receives packets and sends each on, one
// by one as those of many machines, or together as those of one.
func BenchmarkForward(b *testing.B) {
	for _, together := range []int{1, 32} {
		b.Run(fmt.Sprintf("together=%d", together), func(b *testing.B) {
			from, relay, to := listen(b, "127.0.0.1:0"), listen(b, "127.0.0.1:0"), listen(b, "127.0.0.1:0")
			source, r, s, sink := from.NewSender(), relay.NewReceiver(), relay.NewSender(), to.NewReceiver()
			packet := make([]byte, 1452)
			packets := 0
			b.SetBytes(int64(len(packet)))
			for packets < b.N {
				for range together {
					source.Queue(relay.LocalAddr(), netip.Addr{}, packet)
				}
				source.Flush()
				for got := 0; got < together; {
					if err := r.Receive(); err != nil {
						b.Fatal(err)
					}
					for p := range r.All() {
						s.Queue(to.LocalAddr(), netip.Addr{}, p.Data)
						got++
					}
					s.Flush()
				}
				for got := 0; got < together; {
					if err := sink.Receive(); err != nil {
						b.Fatal(err)
					}
					for range sink.All() {
						got++
					}
				}
				packets += together
			}
		})
	}
}
