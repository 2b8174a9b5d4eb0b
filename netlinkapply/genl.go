package netlinkapply

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/netlinkapply/userspace"
	"github.com/spanmesh/span/reconciler/state"
)

// maxMessage is the size in bytes at which a message is full. The length of an attribute has
// 16 bits (netlink(7)), and all peers are in one attribute.
const maxMessage = 32 << 10

// configurePeers gives peers to the kernel's WireGuard, as wgctrl does. It is for
// many peers: wgctrl makes an encoder for each attribute at each level, which takes
// longer than the kernel's own work.
func configurePeers(link string, peers []userspace.PeerSetting) error {
	conn, err := genetlink.Dial(nil)
	if err != nil {
		return fmt.Errorf("open a netlink socket for WireGuard: %w", err)
	}
	defer func() { _ = conn.Close() }()
	family, err := conn.GetFamily(unix.WG_GENL_NAME)
	if err != nil {
		return fmt.Errorf("find the kernel's WireGuard: %w", err)
	}
	for len(peers) > 0 {
		var message []byte
		message, peers = encodePeers(link, peers)
		request := genetlink.Message{Header: genetlink.Header{Command: unix.WG_CMD_SET_DEVICE, Version: unix.WG_GENL_VERSION}, Data: message}
		if _, err := conn.Execute(request, family.ID, netlink.Request|netlink.Acknowledge); err != nil {
			return err
		}
	}
	return nil
}

// encodePeers writes as many peers as fit into a message, and returns the rest. A
// peer with more networks than fit is continued in the rest.
func encodePeers(link string, peers []userspace.PeerSetting) (message []byte, rest []userspace.PeerSetting) {
	a := attributes{buffer: make([]byte, 0, maxMessage+maxMessage/8)}
	a.add(unix.WGDEVICE_A_IFNAME, append([]byte(link), 0))
	list := a.open(unix.WGDEVICE_A_PEERS)
	for len(peers) > 0 && len(a.buffer) < maxMessage {
		left := a.peer(peers[0])
		if len(left) > 0 {
			// The kernel then has the first part of the peer. The next message adds the
			// rest.
			next := userspace.PeerSetting{PublicKey: peers[0].PublicKey, UpdateOnly: true, AllowedIPs: left}
			rest = append([]userspace.PeerSetting{next}, peers[1:]...)
			a.end(list)
			return a.buffer, rest
		}
		peers = peers[1:]
	}
	a.end(list)
	return a.buffer, peers
}

// attributes writes netlink attributes (netlink(7)) one behind the other.
type attributes struct{ buffer []byte }

const (
	attributeHeader = 4
	alignment       = 4
)

func (a *attributes) open(kind uint16) (at int) {
	at = len(a.buffer)
	a.buffer = append(a.buffer, 0, 0, 0, 0)
	binary.NativeEndian.PutUint16(a.buffer[at+2:], kind|unix.NLA_F_NESTED)
	return at
}

// end closes the attribute that was opened at a place.
func (a *attributes) end(at int) {
	binary.NativeEndian.PutUint16(a.buffer[at:], uint16(len(a.buffer)-at))
}

func (a *attributes) add(kind uint16, value []byte) {
	a.buffer = binary.NativeEndian.AppendUint16(a.buffer, uint16(attributeHeader+len(value)))
	a.buffer = binary.NativeEndian.AppendUint16(a.buffer, kind)
	a.buffer = append(a.buffer, value...)
	for len(a.buffer)%alignment != 0 {
		a.buffer = append(a.buffer, 0)
	}
}

// peer writes a peer, and returns its networks for which there was no room.
func (a *attributes) peer(p userspace.PeerSetting) (left []netip.Prefix) {
	at := a.open(0)
	a.add(unix.WGPEER_A_PUBLIC_KEY, p.PublicKey[:])
	var flags uint32
	if p.Remove {
		flags |= unix.WGPEER_F_REMOVE_ME
	}
	if p.ReplaceAllowedIPs {
		flags |= unix.WGPEER_F_REPLACE_ALLOWEDIPS
	}
	if p.UpdateOnly {
		flags |= unix.WGPEER_F_UPDATE_ONLY
	}
	if flags != 0 {
		var value [4]byte
		binary.NativeEndian.PutUint32(value[:], flags)
		a.add(unix.WGPEER_A_FLAGS, value[:])
	}
	if p.HasPresharedKey {
		a.add(unix.WGPEER_A_PRESHARED_KEY, p.PresharedKey[:])
	}
	if p.Endpoint.IsValid() {
		var space [unix.SizeofSockaddrInet6]byte
		a.add(unix.WGPEER_A_ENDPOINT, sockaddr(space[:0], p.Endpoint))
	}
	if p.HasKeepalive {
		a.add16(unix.WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL, p.Keepalive)
	}
	if len(p.AllowedIPs) > 0 {
		list := a.open(unix.WGPEER_A_ALLOWEDIPS)
		for i, n := range p.AllowedIPs {
			if len(a.buffer) >= maxMessage {
				left = p.AllowedIPs[i:]
				break
			}
			a.network(n)
		}
		a.end(list)
	}
	a.end(at)
	return left
}

func (a *attributes) network(prefix netip.Prefix) {
	at := a.open(0)
	address := prefix.Addr()
	a.add16(unix.WGALLOWEDIP_A_FAMILY, addressFamily(address))
	if address.Is4() {
		value := address.As4()
		a.add(unix.WGALLOWEDIP_A_IPADDR, value[:])
	} else {
		value := address.As16()
		a.add(unix.WGALLOWEDIP_A_IPADDR, value[:])
	}
	bits := [1]byte{byte(prefix.Bits())}
	a.add(unix.WGALLOWEDIP_A_CIDR_MASK, bits[:])
	a.end(at)
}

func (a *attributes) add16(kind, value uint16) {
	var bytes [2]byte
	binary.NativeEndian.PutUint16(bytes[:], value)
	a.add(kind, bytes[:])
}

func addressFamily(a netip.Addr) uint16 { return uint16(family(state.FamilyOf(a))) }

// sockaddr appends an endpoint as ip(7) and ipv6(7) have it.
func sockaddr(b []byte, e netip.AddrPort) []byte {
	address := e.Addr().Unmap()
	b = binary.NativeEndian.AppendUint16(b, addressFamily(address))
	b = binary.BigEndian.AppendUint16(b, e.Port())
	if address.Is4() {
		value := address.As4()
		b = append(b, value[:]...)
		return append(b, make([]byte, unix.SizeofSockaddrInet4-len(b))...)
	}
	value := address.As16()
	b = append(b, 0, 0, 0, 0) // the flow
	b = append(b, value[:]...)
	return append(b, make([]byte, unix.SizeofSockaddrInet6-len(b))...)
}
