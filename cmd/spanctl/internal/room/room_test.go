package room

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
)

func TestClients(t *testing.T) {
	for _, c := range []struct{ remote, local, want string }{
		{"192.0.2.5", "192.0.2.1", "192.0.2.5/32"},
		{"2001:db8:0:1::5", "2001:db8::1", "2001:db8:0:1::/64"},
		{"2001:db8:0:1:ffff::", "2001:db8::1", "2001:db8:0:1::/64"},
		{"fd00:0:0:1::5", "fd00:0:0:1::1", "fd00:0:0:1::5/128"},
		{"fd00:0:0:2::5", "fd00:0:0:1::1", "fd00:0:0:2::/64"},
		{"2001:db8::5", "10.99.0.1", "2001:db8::/64"},
		{"127.0.0.1", "127.0.0.1", "::1/128"},
		{"127.9.9.9", "127.0.0.1", "::1/128"},
		{"::1", "::1", "::1/128"},
	} {
		if got := clientAt(netip.MustParseAddr(c.remote), netip.MustParseAddr(c.local)); got.String() != c.want {
			t.Errorf("%s at %s is the client %v, want %s", c.remote, c.local, got, c.want)
		}
	}
}

// TestPlaces has guests come to a room of 4 places, of which a client has 2. Each is named by its client
// and a number.
func TestPlaces(t *testing.T) {
	for name, c := range map[string]struct{ come, stay string }{
		"there is place":                       {"a1 b1 a2 b2", "a1 b1 a2 b2"},
		"a client has its share":               {"a1 a2 a3 b1", "a2 a3 b1"},
		"a full room, one with most":           {"a1 b1 b2 c1 d1", "a1 b2 c1 d1"},
		"a full room, with one of each":        {"a1 b1 c1 d1 e1", "b1 c1 d1 e1"},
		"one with most takes from nobody else": {"a1 b1 c1 b2 b3 b4 b5", "a1 c1 b4 b5"},
		"loopback has any share":               {"l1 l2 l3 l4", "l1 l2 l3 l4"},
		"loopback gives way to itself":         {"l1 l2 l3 l4 l5", "l2 l3 l4 l5"},
		"loopback gives way to others":         {"l1 l2 l3 l4 a1 b1", "l3 l4 a1 b1"},
	} {
		r, names := &Room{Limit: 4, Share: 2}, map[*Guest]string{}
		for _, who := range strings.Fields(c.come) {
			address := netip.AddrFrom4([4]byte{192, 0, 2, who[0]})
			if who[0] == 'l' {
				address = netip.IPv6Loopback()
			}
			g := &Guest{room: r, client: netip.PrefixFrom(address, address.BitLen())}
			names[g] = who
			if out := r.enter(g); out != nil && (!out.left || out.admit()) {
				t.Errorf("%s: %s is out, and may stay", name, names[out])
			}
		}
		stay := make([]string, len(r.waiting))
		for i, g := range r.waiting {
			stay[i] = names[g]
		}
		if got := strings.Join(stay, " "); got != c.stay {
			t.Errorf("%s: left are %s, want %s", name, got, c.stay)
		}
	}
}

// TestOldestStrangerGoes connects more often than strangers may, once a connection is admitted.
func TestOldestStrangerGoes(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	const limit = 32
	r := &Room{Listener: l, Limit: limit, Share: limit, MaxAdmitted: 1}
	defer r.Close()
	connect := func() (client net.Conn, server *Guest) {
		t.Helper()
		client, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = client.Close() })
		conn, err := r.Accept()
		if err != nil {
			t.Fatal(err)
		}
		return client, conn.(*Guest)
	}
	admitted, atServer := connect()
	if !atServer.admit() {
		t.Fatal("it is not admitted")
	}
	first, _ := connect()
	for range limit {
		connect()
	}
	if _, err := first.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the oldest stranger reads %v", err)
	}
	if _, err := atServer.Write([]byte("x")); err != nil {
		t.Errorf("the admitted connection is closed: %v", err)
	}
	if n, err := admitted.Read(make([]byte, 1)); n != 1 || err != nil {
		t.Errorf("it reads %v", err)
	}
	_ = atServer.Close()
	if _ = atServer.Close(); r.admitted != 0 || len(r.waiting) != limit {
		t.Errorf("%d connections are admitted, %d wait", r.admitted, len(r.waiting))
	}
}
