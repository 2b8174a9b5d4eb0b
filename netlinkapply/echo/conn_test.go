package echo

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/peer"
)

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

func TestConn(t *testing.T) {
	c, err := Dial("lo", 0, netip.IPv6Loopback())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}()
	for _, size := range []int{0, MinSize, 1280, 1420, 9000} {
		rtt, answered, err := c.Echo(t.Context(), size, patience)
		if err != nil || !answered || rtt <= 0 {
			t.Errorf("%d bytes: answered %v after %v: %v", size, answered, rtt, err)
		}
	}
	if found, err := c.PathMTU(t.Context(), 9000, patience); err != nil || found != (PathMTU{true, 9000, 9000}) {
		t.Errorf("the path is %+v: %v", found, err)
	}
	if _, _, err := c.Echo(t.Context(), 1<<16-100, patience); err != nil {
		t.Errorf("a packet of the link's MTU: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, answered, err := c.Echo(ctx, 0, patience); answered || !errors.Is(err, context.Canceled) {
		t.Errorf("after its end: answered %v, %v", answered, err)
	}
}

// TestTooLarge sends more than a link takes.
func TestTooLarge(t *testing.T) {
	link := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "small", MTU: 1280}, PeerName: "other"}
	if err := netlink.LinkAdd(link); err != nil {
		t.Fatal(err)
	}
	other, err := netlink.LinkByName(link.PeerName)
	if err != nil {
		t.Fatal(err)
	}
	for _, end := range []netlink.Link{link, other} {
		if err := netlink.LinkSetUp(end); err != nil {
			t.Fatal(err)
		}
	}
	address, err := netlink.ParseAddr("fd00:77::1/64")
	if err != nil {
		t.Fatal(err)
	}
	address.Flags = unix.IFA_F_NODAD
	if err := netlink.AddrAdd(link, address); err != nil {
		t.Fatal(err)
	}
	c, err := Dial("small", 0, netip.MustParseAddr("fd00:77::2"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if _, _, err := c.Echo(t.Context(), 1281, time.Millisecond); !errors.Is(err, ErrTooLarge) {
		t.Errorf("1281 bytes: %v", err)
	}
	if _, answered, err := c.Echo(t.Context(), 1280, time.Millisecond); answered || err != nil {
		t.Errorf("1280 bytes to nobody: answered %v, %v", answered, err)
	}
}

// TestConnBesideSocket has both send to the same address: each takes its own answers alone.
func TestConnBesideSocket(t *testing.T) {
	var s Socket
	defer s.Close()
	open(t, &s, unix.SOCK_RAW)
	c, err := Dial("lo", 0, netip.IPv6Loopback())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	for range 3 {
		if err := s.Send("lo", 0, []peer.Probe{{Peer: mesh.Key{1}, Address: netip.IPv6Loopback()}}); err != nil {
			t.Fatal(err)
		}
		if _, answered, err := c.Echo(t.Context(), 0, patience); !answered || err != nil {
			t.Fatalf("answered %v: %v", answered, err)
		}
		if replies := await(t, &s); len(replies) != 1 {
			t.Fatalf("replies are %v", replies)
		}
	}
}
