package stun

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"
)

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

// TestServe asks a server of all addresses at two of them: it answers from the one that was asked.
func TestServe(t *testing.T) {
	for listen, asked := range map[string][]string{":0": {"127.0.0.1", "127.0.0.2", "::1"}, "0.0.0.0:0": {"127.0.0.1", "127.0.0.2"}, "127.0.0.1:0": {"127.0.0.1"}} {
		conn, err := Listen(t.Context(), listen)
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		s, ended := NewServer(slog.New(slog.DiscardHandler)), make(chan error)
		go func() { ended <- s.Serve(ctx, conn) }()
		for i, address := range asked {
			to := netip.AddrPortFrom(netip.MustParseAddr(address), conn.LocalAddr().(*net.UDPAddr).AddrPort().Port())
			ask(t, to, ID{byte(i)})
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if got := s.Counts(); got != (Counts{Answered: uint64(len(asked)), Refused: uint64(len(asked))}) {
			t.Errorf("%s: %+v", listen, got)
		}
	}
}

// ask sends a server what is no request, and then one. A connected socket takes answers from the
// address that was asked alone.
func ask(t *testing.T, to netip.AddrPort, id ID) {
	t.Helper()
	client, err := net.Dial("udp", to.String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	if err := client.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	for _, message := range [][]byte{[]byte("?"), Request(id)} {
		if _, err := client.Write(message); err != nil {
			t.Fatal(err)
		}
	}
	buffer := make([]byte, MaxMessage)
	n, err := client.Read(buffer)
	if err != nil {
		t.Fatalf("ask %v: %v", to, err)
	}
	if got, seen, ok := ParseAnswer(buffer[:n]); !ok || got != id || seen.String() != client.LocalAddr().String() {
		t.Errorf("%v answers %v %v %v", to, got, seen, ok)
	}
}

func TestAdmit(t *testing.T) {
	s := NewServer(slog.New(slog.DiscardHandler))
	now := s.epoch.Add(time.Hour)
	count := func(text string, n int) (admitted int) {
		for range n {
			if s.admit(netip.MustParseAddr(text), now) {
				admitted++
			}
		}
		return admitted
	}
	if got := count("192.0.2.1", 2*burst); got != burst {
		t.Errorf("%d of an address at once", got)
	}
	if got := count("2001:db8::1", burst/2) + count("2001:db8::2", burst); got != burst {
		t.Errorf("%d of an IPv6 network at once", got)
	}
	if got := count("198.51.100.7", 1); got != 1 {
		t.Error("another address is refused")
	}
	now = now.Add(time.Second)
	if got := count("192.0.2.1", 2*burst); got != perSecond {
		t.Errorf("%d of an address in the second after", got)
	}
	admitted := 0
	for i := range 2 * allBurst {
		if s.admit(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), now) {
			admitted++
		}
	}
	if admitted > allBurst || admitted < allBurst/2 {
		t.Errorf("%d of many addresses at once", admitted)
	}
}
