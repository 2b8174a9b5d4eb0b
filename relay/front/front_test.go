package front_test

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.zx2c4.com/wireguard/tun/tuntest"

	"github.com/spanmesh/span/relay/front"
	"github.com/spanmesh/span/relay/proof"
	"github.com/spanmesh/span/relay/stream"
	"github.com/spanmesh/span/relay/udp"
)

// TestUDP has two machines meet by a relay of one address, and of all: then each calls another one.
func TestUDP(t *testing.T) {
	for address, at := range map[string][2]string{"127.0.0.1:0": {"127.0.0.1", "127.0.0.1"}, ":0": {"127.0.0.2", "::1"}} {
		t.Run(address, func(t *testing.T) {
			s := start(t, func(o *front.Options) { o.Sockets = []*udp.Conn{listen(t, address)} })
			port := s.at.Port()
			one, other := pair(t, s, netip.AddrPortFrom(netip.MustParseAddr(at[0]), port), netip.AddrPortFrom(netip.MustParseAddr(at[1]), port))
			ping(t, one, other)
			ping(t, other, one)
			if c := s.Counts(); c.Packets == 0 || c.Unsent != 0 {
				t.Errorf("%+v", c)
			}
			s.stop(t)
		})
	}
}

// TestTwoSockets has a machine at each socket of a relay.
func TestTwoSockets(t *testing.T) {
	s := start(t, func(o *front.Options) { o.Sockets = []*udp.Conn{listen(t, "127.0.0.1:0"), listen(t, "[::1]:0")} })
	one, other := pair(t, s, s.options.Sockets[0].LocalAddr(), s.options.Sockets[1].LocalAddr())
	ping(t, one, other)
	ping(t, other, one)
}

// TestTLS has machines without UDP meet one with it, and each other.
func TestTLS(t *testing.T) {
	for name, streams := range map[string]int{"one end": 1, "both ends": 2} {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			target, config := s.web(t)
			at := s.at
			if streams == 2 {
				at = tunnel(t, target, config)
			}
			one, other := pair(t, s, tunnel(t, target, config), at)
			ping(t, one, other)
			ping(t, other, one)
			s.CloseUnregistered(time.Now().Add(time.Minute))
			if n := s.Counts().Streams; n != streams {
				t.Errorf("%d streams", n)
			}
			s.stop(t)
			s.await(t, "end the streams", func(c front.Counts) bool { return c.Streams == 0 })
		})
	}
}

// TestPlannedRestart starts a relay again while packets flow, with the socket kept open as systemd
// does it. None is lost, and nobody registers anew.
func TestPlannedRestart(t *testing.T) {
	s := start(t)
	one, other := pair(t, s, s.at, s.at)
	ping(t, one, other)
	ping(t, other, one)
	const packets = 400
	received, quarter := make(chan int, 1), make(chan struct{})
	go func() {
		n := 0
		defer func() { received <- n }()
		for timeout := time.After(patience); n < packets; n++ {
			if n == packets/4 {
				close(quarter)
			}
			select {
			case <-other.tun.Inbound:
			case <-timeout:
				return
			}
		}
	}()
	go func() {
		for range packets {
			one.tun.Outbound <- tuntest.Ping(other.ip, one.ip)
			time.Sleep(time.Millisecond)
		}
	}()
	<-quarter
	file, err := s.options.Sockets[0].File()
	if err != nil {
		t.Fatal(err)
	}
	s.stop(t)
	time.Sleep(100 * time.Millisecond) // a process takes a while to start
	passed, err := net.FilePacketConn(file)
	if err != nil {
		t.Fatal(err)
	}
	_ = file.Close()
	socket, err := udp.New(passed.(*net.UDPConn))
	if err != nil {
		t.Fatal(err)
	}
	next := start(t, func(o *front.Options) {
		o.Private, o.Table, o.Sockets = s.options.Private, s.options.Table, []*udp.Conn{socket}
	})
	if n := <-received; n != packets {
		t.Errorf("%d of %d packets came", n, packets)
	}
	if c := next.Counts(); c.Registrations != 0 || c.Nudges != 0 || c.Packets == 0 || c.Registered != 2 {
		t.Errorf("%+v", c)
	}
}

// TestKilled starts a relay again with what one that was killed has left: members need no other
// Join, and are told to register.
func TestKilled(t *testing.T) {
	s := start(t)
	one, other := pair(t, s, s.at, s.at)
	ping(t, one, other)
	var left []byte
	for deadline := time.Now().Add(patience); len(left) == 0 && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		left, _ = os.ReadFile(s.options.Table)
	}
	s.stop(t)
	if err := os.WriteFile(s.options.Table, left, 0o600); err != nil {
		t.Fatal(err)
	}
	next := start(t, func(o *front.Options) {
		o.Private, o.Table, o.Sockets = s.options.Private, s.options.Table, []*udp.Conn{listen(t, s.at.String())}
	})
	if c := next.Counts(); c.Members != 2 || c.Registered != 0 {
		t.Fatalf("%+v", c)
	}
	one.tun.Outbound <- tuntest.Ping(other.ip, one.ip)
	next.await(t, "nudge", func(c front.Counts) bool { return c.Nudges > 0 })
	for _, m := range []*machine{one, other} {
		m.register(t, next, next.at) // as agents do when they are nudged
	}
	next.await(t, "register", registered(2))
	// A new handshake shows the way, which agents begin when they are told of an unknown flow.
	one.set(t, "public_key=%x\nremove=true\n", other.public)
	one.knows(t, other, next.at)
	ping(t, one, other)
}

// TestSessionsAreRestoredOnce has tables that cannot be written anew, which may be removed or not.
func TestSessionsAreRestoredOnce(t *testing.T) {
	s := start(t)
	one, other := pair(t, s, s.at, s.at)
	ping(t, one, other)
	s.stop(t)
	saved, err := os.ReadFile(s.options.Table)
	if err != nil {
		t.Fatal(err)
	}
	long := filepath.Join(t.TempDir(), strings.Repeat("x", 250)) // no temporary file fits beside it
	file, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	for _, c := range []struct {
		name, table, at string
		registered      int
	}{
		{"it is written", s.options.Table, s.options.Table, 2},
		{"it is removed", long, long, 2},
		{"it stays", fmt.Sprintf("/proc/self/fd/%d", file.Fd()), file.Name(), 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := os.WriteFile(c.at, saved, 0o600); err != nil {
				t.Fatal(err)
			}
			for i, registered := range []int{c.registered, 0} {
				f, err := front.New(front.Options{Private: s.options.Private, Limits: s.options.Limits, Table: c.table, Log: slog.New(slog.DiscardHandler)})
				if err != nil {
					t.Fatal(err)
				}
				if n := f.Counts(); n.Registered != registered || i == 0 && n.Members != 2 {
					t.Errorf("start %d: %d members, %d are registered, want %d", i, n.Members, n.Registered, registered)
				}
			}
		})
	}
}

// TestATableOfAnotherKey is not taken.
func TestATableOfAnotherKey(t *testing.T) {
	s := start(t)
	pair(t, s, s.at, s.at)
	s.stop(t)
	next := start(t, func(o *front.Options) { o.Table = s.options.Table })
	if c := next.Counts(); c.Members != 0 {
		t.Errorf("%+v", c)
	}
}

// TestStreamsAreBounded has streams beyond limits, and such whose ends are no members.
func TestStreamsAreBounded(t *testing.T) {
	s := start(t, func(o *front.Options) { o.Limits.StreamsPerAddress = 2 })
	target, config := s.web(t)
	open := make([]*stream.Conn, 3)
	var err error
	for i := range 2 {
		if open[i], err = stream.Dial(t.Context(), target, config); err != nil {
			t.Fatal(err)
		}
	}
	_, err = stream.Dial(t.Context(), target, config)
	if status, is := errors.AsType[*stream.StatusError](err); !is || status.Code != http.StatusServiceUnavailable {
		t.Errorf("a third stream: %v", err)
	}
	_ = open[0].Close()
	for deadline := time.Now().Add(patience); open[2] == nil; {
		if open[2], err = stream.Dial(t.Context(), target, config); err != nil && time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	defer func() { _, _ = open[1].Close(), open[2].Close() }()
	s.await(t, "open two", func(c front.Counts) bool { return c.Streams == 2 })
	s.CloseUnregistered(time.Now())
	if n := s.Counts().Streams; n != 2 {
		t.Errorf("%d streams", n)
	}
	s.CloseUnregistered(time.Now().Add(time.Minute))
	s.await(t, "end both", func(c front.Counts) bool { return c.Streams == 0 })
}

// TestOther has packets that are none of WireGuard's.
func TestOther(t *testing.T) {
	s := start(t, func(o *front.Options) {
		o.Other = func() func(netip.AddrPort, []byte) []byte {
			return func(from netip.AddrPort, packet []byte) []byte {
				if packet[1] == 1 {
					return []byte(from.String())
				}
				return nil
			}
		}
	})
	client, err := net.Dial("udp", s.at.String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	if err := client.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	for _, packet := range [][]byte{{0, 2}, {1, 0, 0, 0}, {}, {0, 1}} {
		if _, err := client.Write(packet); err != nil {
			t.Fatal(err)
		}
	}
	b := make([]byte, 100)
	if n, err := client.Read(b); err != nil || string(b[:n]) != client.LocalAddr().String() {
		t.Errorf("%q, %v", b[:n], err)
	}
}

func TestVerify(t *testing.T) {
	s := start(t)
	private, public := newKey(t)
	now := time.Now()
	made, err := proof.Make(private, s.PublicKey(), "mesh", now)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Verify(now, "mesh", public, now, made); err != nil {
		t.Error(err)
	}
	if err := s.Verify(now, "other", public, now, made); err == nil {
		t.Error("the proof holds for another cluster")
	}
}

func TestLimitsWithin(t *testing.T) {
	l := front.DefaultLimits()
	for _, memory := range []int64{16 << 20, 256 << 20, 64 << 30} {
		fit := l.Within(memory)
		if got := fit.Memory(); got > memory || got < min(memory, l.Memory())/2 {
			t.Errorf("within %d bytes: limits take %d", memory, got)
		}
		if fit.Members < 1 || fit.StreamsPerAddress > fit.Streams || fit.FlowsPerSource > fit.Flows {
			t.Errorf("within %d bytes: %+v", memory, fit)
		}
	}
}

func TestMetrics(t *testing.T) {
	s := start(t)
	one, other := pair(t, s, s.at, s.at)
	ping(t, one, other)
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(s.Front)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			values[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	if values["spanctl_relay_machines registered"] != 2 || values["spanctl_relay_packets_total"] < 2 || values["spanctl_relay_registrations_total"] < 2 {
		t.Errorf("the metrics are %v", values)
	}
	if _, has := values["spanctl_relay_dropped_total not_admitted"]; !has {
		t.Errorf("no reason for what was dropped: %v", values)
	}
}
