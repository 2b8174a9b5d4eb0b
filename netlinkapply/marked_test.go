package netlinkapply_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/netlinkapply"
	"github.com/spanmesh/span/reconciler/state"
)

// wire sees what leaves over the link eth0 of wayOut.
type wire struct {
	t  *testing.T
	fd int
}

// tapWire makes the gateways of wayOut reachable and listens at the far end.
func tapWire(t *testing.T, eth0 *netlink.Veth) wire {
	t.Helper()
	for _, gateway := range []string{"192.0.2.1", "2001:db8:1::1"} {
		err := netlink.NeighSet(&netlink.Neigh{LinkIndex: eth0.Index, State: netlink.NUD_PERMANENT,
			IP: netip.MustParseAddr(gateway).AsSlice(), HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 9}})
		if err != nil {
			t.Fatal(err)
		}
	}
	far, err := netlink.LinkByName("far0")
	if err != nil {
		t.Fatal(err)
	}
	const allProtocols = unix.ETH_P_ALL<<8&0xff00 | unix.ETH_P_ALL>>8
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: allProtocols, Ifindex: far.Attrs().Index})
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	return wire{t, fd}
}

// saw reports whether a packet with text has left since the last call. A packet to nobody's
// network, sent last, ends the wait.
func (w wire) saw(text string) bool {
	w.t.Helper()
	return w.sawBefore(text, func(last string) error { return sendUDP(0, "203.0.113.9", last) })
}

// sawBefore is saw with another last packet, which send sends with a text.
func (w wire) sawBefore(text string, send func(last string) error) bool {
	w.t.Helper()
	const last = "the last one"
	if err := send(last); err != nil {
		w.t.Fatal(err)
	}
	found, buffer := false, make([]byte, 1<<16)
	for {
		n, _, err := unix.Recvfrom(w.fd, buffer, 0)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			w.t.Fatal(err)
		case bytes.Contains(buffer[:n], []byte(last)):
			return found
		case bytes.Contains(buffer[:n], []byte(text)):
			found = true
		}
	}
}

// sendUDP sends text from a socket with a mark.
func sendUDP(mark int, to, text string) error {
	dialer := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		var failure error
		err := c.Control(func(fd uintptr) { failure = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, mark) })
		return errors.Join(err, failure)
	}}
	conn, err := dialer.Dial("udp", net.JoinHostPort(to, "4000"))
	if err != nil {
		return err
	}
	_, err = conn.Write([]byte(text))
	return errors.Join(err, conn.Close())
}

// sendFrom sends an IPv4 packet as if a socket with a UDP port and a mark had: the port is
// WireGuard's.
func sendFrom(t *testing.T, port, mark int, to netip.Addr, text string) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_UDP)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	packet := binary.BigEndian.AppendUint16(nil, uint16(port))
	packet = binary.BigEndian.AppendUint16(packet, 4000)
	packet = binary.BigEndian.AppendUint16(packet, uint16(8+len(text)))
	packet = append(append(packet, 0, 0), text...)
	err = errors.Join(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, mark),
		unix.Sendto(fd, packet, 0, &unix.SockaddrInet4{Addr: to.As4()}))
	if err != nil && !errors.Is(err, unix.EPERM) { // that of a packet that a rule drops
		t.Fatal(err)
	}
}

// rewriteMarks makes another program's table that gives all that this machine sends a mark.
func rewriteMarks(t *testing.T, priority int32, mark uint32) (undo func()) {
	t.Helper()
	conn, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	table := conn.AddTable(&nftables.Table{Name: "rewrites", Family: nftables.TableFamilyINet})
	chain := conn.AddChain(&nftables.Chain{Table: table, Name: "out", Type: nftables.ChainTypeRoute,
		Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityRef(nftables.ChainPriority(priority))})
	conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
		&expr.Immediate{Register: 1, Data: binaryutil.NativeEndian.PutUint32(mark)},
		&expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: 1},
	}})
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	return func() {
		conn.DelTable(table)
		if err := conn.Flush(); err != nil {
			t.Error(err)
		}
	}
}

// TestMarkAloneDoesNotPass has packets with WireGuard's mark that are not WireGuard's. The peers
// have 10.0.0.0/32 and 2001:db8::/96, which can be reached in clear.
func TestMarkAloneDoesNotPass(t *testing.T) {
	k := open(t)
	wire := tapWire(t, wayOut(t))
	in := inputs(t, 1)
	t.Cleanup(func() { reach(t, k, state.State{}) })
	reach(t, k, state.Build(in))
	const own, port = 0x20, 51820
	peer := netip.MustParseAddr("10.0.0.0")
	targets := map[string]string{"IPv4": peer.String(), "IPv6": "2001:db8::5", "mesh address": in.Identity.Subnet.Addr().Next().String()}
	dropped := func() state.Dropped {
		t.Helper()
		live, err := k.Observe(scopeOf(t))
		if err != nil {
			t.Fatal(err)
		}
		return live.Firewall.Dropped
	}
	for _, c := range []struct {
		name string
		// mark is that of the socket; rewritten, if priority is not 0, is what another program
		// makes of it.
		mark      int
		priority  int32
		rewritten uint32
		want      state.Dropped
	}{
		{"a socket with the mark", own, 0, 0, state.Dropped{}},
		{"a rule before ours sets the mark", 0, -150, own, state.Dropped{}},
		{"a rule before ours sets more bits", 0, -150, own | 0x4000, state.Dropped{}},
		{"a rule after ours sets the mark", 0, 10, own, state.Dropped{Marked: 1}},
		{"a rule after ours sets all bits", 0, 10, 0xffffffff &^ 0x40, state.Dropped{Marked: 1}},
		{"a rule after ours removes the mark", 0, 10, 0x1, state.Dropped{Unmarked: 1}},
	} {
		for name, to := range targets {
			t.Run(c.name+" to "+name, func(t *testing.T) {
				if c.priority != 0 {
					defer rewriteMarks(t, c.priority, c.rewritten)()
				}
				before := dropped()
				// The guard drops it, or it is in the tunnel, whose peer has no session.
				if err := sendUDP(c.mark, to, "canary"); err != nil && !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.ENOKEY) {
					t.Fatal(err)
				}
				if wire.saw("canary") {
					t.Errorf("a packet to %s left in clear", to)
				}
				got, want := dropped().Since(before), c.want
				if name == "mesh address" {
					want = state.Dropped{} // its rule needs no mark
				}
				if got != want {
					t.Errorf("dropped are %+v, want %+v", got, want)
				}
			})
		}
	}
	t.Run("WireGuard's own packets pass", func(t *testing.T) {
		sendFrom(t, port, own, peer, "canary")
		if !wire.saw("canary") {
			t.Error("they did not leave")
		}
		sendFrom(t, port+1, own, peer, "canary")
		if wire.saw("canary") {
			t.Error("those from another port did too")
		}
	})
	t.Run("WireGuard's own packets without their mark are dropped", func(t *testing.T) {
		before := dropped()
		sendFrom(t, port, 0, peer, "canary")
		if wire.saw("canary") {
			t.Error("they left")
		}
		if got := dropped().Since(before); got != (state.Dropped{Bare: 1}) {
			t.Errorf("dropped are %+v", got)
		}
	})
	for name, to := range targets {
		if name == "mesh address" {
			continue
		}
		t.Run("the agent's own connections pass over "+name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			conn, err := netlinkapply.MarkedDialer(own)(ctx, "udp", net.JoinHostPort(to, "4000"))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Write([]byte("canary")); err != nil {
				t.Fatal(err)
			}
			if !wire.saw("canary") {
				t.Error("a datagram did not leave")
			}
			_ = conn.Close()
			// Nobody answers: the dialer ends once its first packet was seen.
			done := make(chan struct{})
			go func() {
				defer close(done)
				_, _ = netlinkapply.MarkedDialer(own)(ctx, "tcp", net.JoinHostPort(to, "4001"))
			}()
			syn := string(binary.BigEndian.AppendUint16(nil, 4001))
			for !wire.saw(syn) {
				if t.Context().Err() != nil {
					t.Fatal("no TCP packet left")
				}
			}
			cancel()
			<-done
		})
	}
}
