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

	"go4.org/netipx"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// ConfigurePeers gives peers to the process that serves the link, which takes each
// as it arrives: writing the next ones goes on meanwhile. An error of the process
// is a unix.Errno; peers before the one that it refused are then configured.
func ConfigurePeers(link string, peers iter.Seq[wgtypes.PeerConfig]) error {
	conn, err := dial(link)
	if err != nil {
		return fmt.Errorf("reach the WireGuard process of %s: %w", link, err)
	}
	defer func() { _ = conn.Close() }()
	return configure(conn, peers)
}

func configure(conn io.ReadWriter, peers iter.Seq[wgtypes.PeerConfig]) error {
	text := bufio.NewWriter(conn)
	_, _ = text.WriteString("set=1\n")
	var line []byte
	for p := range peers {
		line = appendPeer(line[:0], p)
		_, _ = text.Write(line)
	}
	_, _ = text.WriteString("\n")
	// A process that refuses a peer answers and reads no further: its answer says
	// more than the writing that failed.
	written := text.Flush()
	if refused := answer(conn); refused != nil {
		return errors.Join(refused, written)
	}
	return written
}

// answer reads what the process says to a configuration.
func answer(r io.Reader) error {
	line, err := bufio.NewReader(io.LimitReader(r, 64)).ReadString('\n')
	if err != nil {
		return fmt.Errorf("read the answer of the WireGuard process: %w", err)
	}
	number, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "errno=")
	code, err := strconv.Atoi(number)
	switch {
	case !ok || err != nil:
		return fmt.Errorf("the WireGuard process answers %q", line)
	case code == 0:
		return nil
	default:
		// wireguard-go has them negative, the protocol positive.
		return unix.Errno(max(code, -code))
	}
}

// appendPeer writes a peer as WireGuard's cross-platform configuration protocol has
// it (wireguard.com/xplatform), a line for each setting.
func appendPeer(b []byte, p wgtypes.PeerConfig) []byte {
	b = appendKey(b, "public_key=", p.PublicKey)
	if p.Remove {
		b = append(b, "remove=true\n"...)
	}
	if p.UpdateOnly {
		b = append(b, "update_only=true\n"...)
	}
	if p.PresharedKey != nil {
		b = appendKey(b, "preshared_key=", *p.PresharedKey)
	}
	if p.Endpoint != nil {
		b = append(b, "endpoint="...)
		endpoint := p.Endpoint.AddrPort()
		b = netip.AddrPortFrom(endpoint.Addr().Unmap(), endpoint.Port()).AppendTo(b)
		b = append(b, '\n')
	}
	if p.PersistentKeepaliveInterval != nil {
		b = append(b, "persistent_keepalive_interval="...)
		b = strconv.AppendInt(b, int64(p.PersistentKeepaliveInterval.Seconds()), 10)
		b = append(b, '\n')
	}
	if p.ReplaceAllowedIPs {
		b = append(b, "replace_allowed_ips=true\n"...)
	}
	for _, n := range p.AllowedIPs {
		b = appendNetwork(b, n)
	}
	return b
}

func appendKey(b []byte, name string, key wgtypes.Key) []byte {
	b = append(b, name...)
	b = hex.AppendEncode(b, key[:])
	return append(b, '\n')
}

func appendNetwork(b []byte, n net.IPNet) []byte {
	prefix, _ := netipx.FromStdIPNet(&n)
	b = append(b, "allowed_ip="...)
	b = prefix.AppendTo(b)
	return append(b, '\n')
}
