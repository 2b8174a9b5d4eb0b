package netlinkapply

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"os"
	"syscall"
	"time"

	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/netlink"
	rtnetlink "github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/netlinkapply/netattr"
	"github.com/spanmesh/span/netlinkapply/wgdevice"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/state"
)

const (
	// datagramSize is more than the kernel sends at once (netlink_dump).
	datagramSize = 64 << 10
	// dumpTimeout is how long the kernel may take for all peers.
	dumpTimeout = 5 * time.Second
)

// readDevice reads a device of the kernel's WireGuard into d. It is for many peers: wgctrl makes a
// decoder for each attribute at each level.
func readDevice(link string, d *wgdevice.Device) error {
	conn, err := genetlink.Dial(nil)
	if err != nil {
		return fmt.Errorf("open a netlink socket for WireGuard: %w", err)
	}
	defer func() { _ = conn.Close() }()
	family, err := conn.GetFamily(unix.WG_GENL_NAME)
	if err != nil {
		return fmt.Errorf("find the kernel's WireGuard: %w", err)
	}
	for range dumpTries {
		if err = dumpDevice(conn, family.ID, link, d); !errors.Is(err, rtnetlink.ErrDumpInterrupted) {
			break
		}
	}
	return err
}

func dumpDevice(conn *genetlink.Conn, family uint16, link string, d *wgdevice.Device) error {
	var a attributes
	a.add(unix.WGDEVICE_A_IFNAME, append([]byte(link), 0))
	request := genetlink.Message{Header: genetlink.Header{Command: unix.WG_CMD_GET_DEVICE, Version: unix.WG_GENL_VERSION}, Data: a.buffer}
	sent, err := conn.Send(request, family, netlink.Request|netlink.Dump)
	if err != nil {
		return err
	}
	socket, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	if err := conn.SetReadDeadline(time.Now().Add(dumpTimeout)); err != nil {
		return err
	}
	d.Begin(kernelFormat)
	dump := deviceDump{device: d, family: family, sequence: sent.Header.Sequence}
	for buffer := d.Buffer(datagramSize); !dump.done; {
		n, err := receiveDatagram(socket, buffer)
		if err != nil {
			return err
		}
		if err := dump.add(buffer[:n]); err != nil {
			return err
		}
	}
	if dump.interrupted {
		return rtnetlink.ErrDumpInterrupted
	}
	return d.End()
}

// receiveDatagram waits for a datagram.
func receiveDatagram(socket syscall.RawConn, buffer []byte) (n int, err error) {
	waiting := socket.Read(func(fd uintptr) bool {
		for {
			n, err = unix.Read(int(fd), buffer)
			if !errors.Is(err, unix.EINTR) {
				return !errors.Is(err, unix.EAGAIN)
			}
		}
	})
	return n, os.NewSyscallError("read", errors.Join(waiting, err))
}

// errCutOff is the error of a message that is longer than what has it.
var errCutOff = errors.New("a message of the kernel's WireGuard is cut off")

// deviceDump reads the answer to WG_CMD_GET_DEVICE (linux/wireguard.h). The peers are in several
// messages. One with many networks is, too: the rest has its key and nothing else.
type deviceDump struct {
	device   *wgdevice.Device
	family   uint16
	sequence uint32
	// done is set after the last message, interrupted if the device has changed meanwhile.
	done, interrupted bool
}

// add reads the messages of a datagram (netlink(7)).
func (d *deviceDump) add(datagram []byte) error {
	for rest := datagram; len(rest) > 0 && !d.done; {
		if len(rest) < unix.SizeofNlMsghdr {
			return errCutOff
		}
		length := int64(binary.NativeEndian.Uint32(rest))
		kind, flags := binary.NativeEndian.Uint16(rest[4:]), binary.NativeEndian.Uint16(rest[6:])
		sequence := binary.NativeEndian.Uint32(rest[8:])
		if length < unix.SizeofNlMsghdr || length > int64(len(rest)) {
			return errCutOff
		}
		content := rest[unix.SizeofNlMsghdr:length]
		rest = rest[min(netattr.Align(int(length)), len(rest)):]
		if sequence != d.sequence {
			continue // of a request before
		}
		d.interrupted = d.interrupted || flags&unix.NLM_F_DUMP_INTR != 0
		if err := d.message(kind, content); err != nil {
			return err
		}
	}
	return nil
}

func (d *deviceDump) message(kind uint16, content []byte) error {
	switch kind {
	case unix.NLMSG_DONE:
		d.done = true
		return dumpError(content)
	case unix.NLMSG_ERROR:
		return dumpError(content)
	case d.family:
		if len(content) < unix.GENL_HDRLEN {
			return errCutOff
		}
		return d.settings(content[unix.GENL_HDRLEN:])
	}
	return nil
}

// dumpError returns the error whose negative number a message begins with; nil for 0.
func dumpError(content []byte) error {
	const size = 4
	if len(content) < size {
		return errCutOff
	}
	n := int32(binary.NativeEndian.Uint32(content))
	if n == 0 {
		return nil
	}
	return unix.Errno(max(n, -n))
}

// settings reads the attributes of the device.
func (d *deviceDump) settings(message []byte) (err error) {
	list := netattr.NewList(message)
	for list.Next() && err == nil {
		switch list.Kind {
		case unix.WGDEVICE_A_PRIVATE_KEY:
			d.device.PrivateKey, err = secretOf(list.Value)
		case unix.WGDEVICE_A_LISTEN_PORT:
			d.device.ListenPort = int(list.Number(2))
		case unix.WGDEVICE_A_FWMARK:
			d.device.FirewallMark = uint32(list.Number(4))
		case unix.WGDEVICE_A_PEERS:
			err = d.peers(list.Value)
		}
	}
	return errors.Join(err, list.Err)
}

func (d *deviceDump) peers(value []byte) (err error) {
	list := netattr.NewList(value)
	for list.Next() && err == nil {
		err = d.peer(list.Value)
	}
	return errors.Join(err, list.Err)
}

// peer reads a peer, or the rest of one.
func (d *deviceDump) peer(value []byte) error {
	key, err := keyOf(value)
	if err != nil {
		return err
	}
	p, _, err := d.device.Peer(key)
	if err != nil {
		return err
	}
	list := netattr.NewList(value)
	for list.Next() && err == nil {
		err = d.setPeer(p, &list)
	}
	return errors.Join(err, list.Err)
}

func keyOf(peer []byte) (mesh.Key, error) {
	list := netattr.NewList(peer)
	for list.Next() {
		if list.Kind == unix.WGPEER_A_PUBLIC_KEY && len(list.Value) == mesh.KeySize {
			return mesh.Key(list.Value), nil
		}
	}
	return mesh.Key{}, errors.Join(errors.New("the kernel's WireGuard has a peer without a key"), list.Err)
}

func (d *deviceDump) setPeer(p *state.Peer, a *netattr.List) (err error) {
	switch a.Kind {
	case unix.WGPEER_A_PRESHARED_KEY:
		p.PresharedKey, err = secretOf(a.Value)
	case unix.WGPEER_A_ENDPOINT:
		return d.device.Endpoint(a.Value)
	case unix.WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL:
		p.Keepalive = time.Duration(a.Number(2)) * time.Second
	case unix.WGPEER_A_LAST_HANDSHAKE_TIME:
		p.LastHandshake, err = timeOf(a.Value)
	case unix.WGPEER_A_RX_BYTES:
		p.ReceiveBytes = int64(min(a.Number(8), math.MaxInt64))
	case unix.WGPEER_A_TX_BYTES:
		p.TransmitBytes = int64(min(a.Number(8), math.MaxInt64))
	case unix.WGPEER_A_ALLOWEDIPS:
		if err := d.device.Networks(a.Value); err != nil {
			return err
		}
		var padding [netattr.Alignment]byte // the rest of the list may follow
		return d.device.Networks(padding[:netattr.Align(len(a.Value))-len(a.Value)])
	}
	return err
}

func secretOf(value []byte) (mesh.PrivateKey, error) {
	if len(value) != mesh.KeySize {
		return mesh.PrivateKey{}, fmt.Errorf("the kernel's WireGuard has a key of %d bytes", len(value))
	}
	return mesh.SecretKey([mesh.KeySize]byte(value)), nil
}

// timeOf returns the time of a struct __kernel_timespec; zero for none.
func timeOf(value []byte) (time.Time, error) {
	const size = 16
	if len(value) != size {
		return time.Time{}, fmt.Errorf("the kernel's WireGuard has a time of %d bytes", len(value))
	}
	seconds, nanoseconds := int64(binary.NativeEndian.Uint64(value)), int64(binary.NativeEndian.Uint64(value[size/2:]))
	if seconds <= 0 {
		return time.Time{}, nil
	}
	return time.Unix(seconds, nanoseconds), nil
}

// kernelFormat is that of the values in the kernel's messages.
var kernelFormat = wgdevice.Format{Endpoint: endpointOf, Networks: networksOf}

// endpointOf is the inverse of sockaddr.
func endpointOf(raw []byte) (netip.AddrPort, error) {
	const portAt, at4, at6 = 2, 4, 8
	var address netip.Addr
	switch len(raw) {
	case unix.SizeofSockaddrInet4:
		address = netip.AddrFrom4([4]byte(raw[at4:]))
	case unix.SizeofSockaddrInet6:
		address = netip.AddrFrom16([16]byte(raw[at6:])).Unmap()
	default:
		return netip.AddrPort{}, fmt.Errorf("the kernel's WireGuard has an endpoint of %d bytes", len(raw))
	}
	return netip.AddrPortFrom(address, binary.BigEndian.Uint16(raw[portAt:])), nil
}

func networksOf(raw []byte) (all []netip.Prefix, err error) {
	networks := netattr.NewList(raw)
	for networks.Next() {
		var address netip.Addr
		bits := -1
		list := netattr.NewList(networks.Value)
		for list.Next() {
			switch list.Kind {
			case unix.WGALLOWEDIP_A_IPADDR:
				address, _ = netip.AddrFromSlice(list.Value)
			case unix.WGALLOWEDIP_A_CIDR_MASK:
				bits = int(list.Number(1))
			}
		}
		if list.Err != nil {
			return nil, list.Err
		}
		prefix := netip.PrefixFrom(address, bits)
		if !prefix.IsValid() {
			return nil, errors.New("the kernel's WireGuard has an allowed IP that is no network")
		}
		all = append(all, prefix)
	}
	return all, networks.Err
}
