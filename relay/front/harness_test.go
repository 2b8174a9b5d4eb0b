package front_test

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun/tuntest"

	"github.com/spanmesh/span/relay"
	"github.com/spanmesh/span/relay/front"
	"github.com/spanmesh/span/relay/stream"
	"github.com/spanmesh/span/relay/udp"
)

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

func newKey(t testing.TB) (private, public relay.Key) {
	k, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return relay.Key(k.Bytes()), relay.Key(k.PublicKey().Bytes())
}

// server is a relay that runs.
type server struct {
	*front.Front
	options front.Options
	at      netip.AddrPort
	cancel  context.CancelFunc
	ended   chan error
}

func (s *server) stop(t testing.TB) {
	t.Helper()
	s.cancel()
	select {
	case err := <-s.ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Error("the relay does not end")
	}
}

func listen(t testing.TB, address string) *udp.Conn {
	t.Helper()
	c, err := udp.Listen(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// start runs a relay on loopback until the test's end.
func start(t testing.TB, change ...func(*front.Options)) *server {
	t.Helper()
	private, _ := newKey(t)
	o := front.Options{Private: private, Limits: front.DefaultLimits(), Table: filepath.Join(t.TempDir(), "table"), Log: slog.New(slog.DiscardHandler)}
	for _, f := range change {
		f(&o)
	}
	if o.Sockets == nil {
		o.Sockets = []*udp.Conn{listen(t, "127.0.0.1:0")}
	}
	f, err := front.New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &server{Front: f, options: o, at: o.Sockets[0].LocalAddr(), cancel: cancel, ended: make(chan error, 1)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.ended <- f.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done // the table's directory goes after it
	})
	return s
}

// machine is a WireGuard device with sockets of the system.
type machine struct {
	*device.Device
	tun    *tuntest.ChannelTUN
	public relay.Key
	ip     netip.Addr
}

func newMachine(t testing.TB, ip string) *machine {
	t.Helper()
	private, public := newKey(t)
	tun := tuntest.NewChannelTUN()
	d := device.NewDevice(tun.TUN(), conn.NewDefaultBind(), device.NewLogger(device.LogLevelSilent, ""))
	t.Cleanup(d.Close)
	m := &machine{d, tun, public, netip.MustParseAddr(ip)}
	m.set(t, "private_key=%s\nlisten_port=0\n", hex.EncodeToString(private[:]))
	if err := d.Up(); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *machine) set(t testing.TB, format string, args ...any) {
	t.Helper()
	if err := m.IpcSet(fmt.Sprintf(format, args...)); err != nil {
		t.Fatal(err)
	}
}

// register makes the relay be a peer anew, at an address.
func (m *machine) register(t testing.TB, s *server, at netip.AddrPort) {
	t.Helper()
	m.set(t, "public_key=%x\nremove=true\n", s.PublicKey())
	m.set(t, "public_key=%x\npersistent_keepalive_interval=10\nendpoint=%s\n", s.PublicKey(), at)
}

// knows has another machine be a peer by way of an address.
func (m *machine) knows(t testing.TB, other *machine, at netip.AddrPort) {
	t.Helper()
	m.set(t, "public_key=%x\nendpoint=%s\nallowed_ip=%s/32\n", other.public, at, other.ip)
}

// await waits until the relay is as it is to be.
func (s *server) await(t testing.TB, what string, is func(front.Counts) bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !is(s.Counts()); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: %+v", what, s.Counts())
		}
	}
}

func registered(n int) func(front.Counts) bool {
	return func(c front.Counts) bool { return c.Registered == n }
}

// pair returns two machines that are registered and know each other by the relay, at addresses that
// are the relay's for each.
func pair(t testing.TB, s *server, atOne, atOther netip.AddrPort) (one, other *machine) {
	t.Helper()
	one, other = newMachine(t, "10.0.0.1"), newMachine(t, "10.0.0.2")
	for m, at := range map[*machine]netip.AddrPort{one: atOne, other: atOther} {
		if err := s.Join(time.Now(), "mesh", m.public, netip.MustParseAddr("127.0.0.1"), nil); err != nil {
			t.Fatal(err)
		}
		m.register(t, s, at)
	}
	s.await(t, "register", registered(2))
	one.knows(t, other, atOne)
	other.knows(t, one, atOther)
	return one, other
}

// ping sends a packet from one machine to another.
func ping(t testing.TB, from, to *machine) {
	t.Helper()
	from.tun.Outbound <- tuntest.Ping(to.ip, from.ip)
	select {
	case <-to.tun.Inbound:
	case <-time.After(patience):
		t.Fatalf("no ping from %v to %v", from.ip, to.ip)
	}
}

// web serves the relay's streams by TLS.
func (s *server) web(t testing.TB) (target string, config *tls.Config) {
	t.Helper()
	web := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = s.ServeStream(w, r, netip.MustParseAddrPort(r.RemoteAddr))
	}))
	t.Cleanup(web.Close)
	roots := x509.NewCertPool()
	roots.AddCert(web.Certificate())
	return web.URL + stream.Path, &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
}

// tunnel returns a UDP address whose packets a stream carries.
func tunnel(t testing.TB, target string, config *tls.Config) netip.AddrPort {
	t.Helper()
	c, err := stream.Dial(t.Context(), target, config)
	if err != nil {
		t.Fatal(err)
	}
	local, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = c.Close(), local.Close() })
	first := make(chan netip.AddrPort, 1)
	go func() {
		b := make([]byte, stream.MaxPacket)
		for {
			n, from, err := local.ReadFromUDPAddrPort(b)
			if err != nil || c.Send(b[:n]) != nil {
				return
			}
			select {
			case first <- from:
			default:
			}
		}
	}()
	go func() {
		b := make([]byte, stream.MaxPacket)
		var machine netip.AddrPort
		for {
			n, err := c.Receive(b)
			if err != nil {
				return
			}
			if !machine.IsValid() {
				machine = <-first
			}
			_, _ = local.WriteToUDPAddrPort(b[:n], machine)
		}
	}()
	return local.LocalAddr().(*net.UDPAddr).AddrPort()
}
