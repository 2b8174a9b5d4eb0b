package userspace

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// PeerSetting is the change of a WireGuard peer.
type PeerSetting struct {
	PublicKey [32]byte
	// Remove deletes the peer.
	Remove bool
	// UpdateOnly ignores a peer that does not exist.
	UpdateOnly bool
	// PresharedKey is set if HasPresharedKey.
	PresharedKey    [32]byte
	HasPresharedKey bool
	// Endpoint is set if it is valid.
	Endpoint netip.AddrPort
	// Keepalive is set if HasKeepalive, in seconds; 0 turns it off.
	Keepalive    uint16
	HasKeepalive bool
	// ReplaceAllowedIPs removes the allowed IPs that the peer has.
	ReplaceAllowedIPs bool
	// AllowedIPs are added.
	AllowedIPs []netip.Prefix
}

// ConfigurePeers sends changes of peers to the process of the link. If the process refuses a
// peer, the error is a unix.Errno, and the peers before it are changed.
func ConfigurePeers(link string, peers iter.Seq[PeerSetting]) error {
	return use(link, func(c net.Conn) error { return configure(c, DeviceSetting{}, peers) })
}

// DeviceSetting is the change of a WireGuard device. What is nil stays.
type DeviceSetting struct {
	PrivateKey   *[32]byte
	ListenPort   *int
	FirewallMark *uint32
}

// ConfigureDevice sends changes of the device's own settings to the process of the link.
func ConfigureDevice(link string, setting DeviceSetting) error {
	return use(link, func(c net.Conn) error { return configure(c, setting, func(func(PeerSetting) bool) {}) })
}

func configure(conn io.ReadWriter, device DeviceSetting, peers iter.Seq[PeerSetting]) error {
	text := bufio.NewWriter(conn)
	_, _ = text.WriteString("set=1\n")
	line := appendDevice(nil, device)
	_, _ = text.Write(line)
	for p := range peers {
		line = appendPeer(line[:0], p)
		_, _ = text.Write(line)
	}
	_, _ = text.WriteString("\n")
	// A process that refuses a peer answers and reads no further, so that writing may fail. Its
	// answer has the reason.
	written := text.Flush()
	if refused := answer(conn); refused != nil {
		return errors.Join(refused, written)
	}
	return written
}

// answer returns the error in the answer of the process.
func answer(r io.Reader) error {
	line, err := bufio.NewReader(io.LimitReader(r, 64)).ReadString('\n')
	if err != nil {
		return fmt.Errorf("read the answer of the WireGuard process: %w", err)
	}
	number, found := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "errno=")
	if !found {
		return fmt.Errorf("unknown answer %q of the WireGuard process", line)
	}
	return refusal(number)
}

func appendDevice(b []byte, d DeviceSetting) []byte {
	if d.PrivateKey != nil {
		b = appendKey(b, "private_key=", *d.PrivateKey)
	}
	if d.ListenPort != nil {
		b = fmt.Appendf(b, "listen_port=%d\n", *d.ListenPort)
	}
	if d.FirewallMark != nil {
		b = fmt.Appendf(b, "fwmark=%d\n", *d.FirewallMark)
	}
	return b
}

// appendPeer appends a peer in WireGuard's cross-platform configuration protocol
// (wireguard.com/xplatform).
func appendPeer(b []byte, p PeerSetting) []byte {
	b = appendKey(b, "public_key=", p.PublicKey)
	if p.Remove {
		b = append(b, "remove=true\n"...)
	}
	if p.UpdateOnly {
		b = append(b, "update_only=true\n"...)
	}
	if p.HasPresharedKey {
		b = appendKey(b, "preshared_key=", p.PresharedKey)
	}
	if p.Endpoint.IsValid() {
		b = append(b, "endpoint="...)
		b = netip.AddrPortFrom(p.Endpoint.Addr().Unmap(), p.Endpoint.Port()).AppendTo(b)
		b = append(b, '\n')
	}
	if p.HasKeepalive {
		b = append(b, "persistent_keepalive_interval="...)
		b = strconv.AppendUint(b, uint64(p.Keepalive), 10)
		b = append(b, '\n')
	}
	if p.ReplaceAllowedIPs {
		b = append(b, "replace_allowed_ips=true\n"...)
	}
	for _, prefix := range p.AllowedIPs {
		b = append(b, "allowed_ip="...)
		b = prefix.AppendTo(b)
		b = append(b, '\n')
	}
	return b
}

func appendKey(b []byte, name string, key [32]byte) []byte {
	b = append(b, name...)
	b = hex.AppendEncode(b, key[:])
	return append(b, '\n')
}
