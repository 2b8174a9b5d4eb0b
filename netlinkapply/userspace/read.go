package userspace

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// Read returns the settings and peers of the link's device. Wgctrl would wait for ever for a
// process that does not answer.
func Read(link string) (device *wgtypes.Device, err error) {
	err = use(link, func(c net.Conn) error {
		if _, err := io.WriteString(c, "get=1\n\n"); err != nil {
			return err
		}
		device, err = parseDevice(c)
		return err
	})
	return device, err
}

// parseDevice reads the answer to "get=1" (wireguard.com/xplatform).
func parseDevice(r io.Reader) (*wgtypes.Device, error) {
	p := deviceParser{device: &wgtypes.Device{Type: wgtypes.Userspace}}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		line := lines.Text()
		if line == "" {
			p.device.PublicKey = p.device.PrivateKey.PublicKey()
			return p.device, nil
		}
		name, value, found := strings.Cut(line, "=")
		if !found {
			return nil, fmt.Errorf("unknown line %q in the answer of the WireGuard process", line)
		}
		if err := p.set(name, value); err != nil {
			return nil, fmt.Errorf("setting %s in the answer of the WireGuard process: %w", name, err)
		}
	}
	return nil, errors.Join(errors.New("the answer of the WireGuard process ended early"), lines.Err())
}

// deviceParser makes a device of the lines of an answer.
type deviceParser struct {
	device *wgtypes.Device
	// peer is the one that lines are about; nil before the first.
	peer *wgtypes.Peer
}

func (p *deviceParser) set(name, value string) error {
	switch name {
	case "errno":
		return refusal(value)
	case "public_key":
		p.device.Peers = append(p.device.Peers, wgtypes.Peer{})
		p.peer = &p.device.Peers[len(p.device.Peers)-1]
		return setKey(&p.peer.PublicKey, value)
	}
	if p.peer != nil {
		return setPeer(p.peer, name, value)
	}
	switch name {
	case "private_key":
		return setKey(&p.device.PrivateKey, value)
	case "listen_port":
		return setNumber(&p.device.ListenPort, value)
	case "fwmark":
		return setNumber(&p.device.FirewallMark, value)
	}
	return nil
}

func setPeer(peer *wgtypes.Peer, name, value string) error {
	switch name {
	case "preshared_key":
		return setKey(&peer.PresharedKey, value)
	case "endpoint":
		endpoint, err := netip.ParseAddrPort(value)
		peer.Endpoint = net.UDPAddrFromAddrPort(endpoint)
		return err
	case "last_handshake_time_sec":
		var seconds int64
		err := setNumber(&seconds, value)
		if seconds > 0 {
			peer.LastHandshakeTime = time.Unix(seconds, 0)
		}
		return err
	case "last_handshake_time_nsec":
		var nanoseconds int64
		err := setNumber(&nanoseconds, value)
		if !peer.LastHandshakeTime.IsZero() {
			peer.LastHandshakeTime = peer.LastHandshakeTime.Add(time.Duration(nanoseconds))
		}
		return err
	case "tx_bytes":
		return setNumber(&peer.TransmitBytes, value)
	case "rx_bytes":
		return setNumber(&peer.ReceiveBytes, value)
	case "persistent_keepalive_interval":
		var seconds int64
		err := setNumber(&seconds, value)
		peer.PersistentKeepaliveInterval = time.Duration(seconds) * time.Second
		return err
	case "allowed_ip":
		_, network, err := net.ParseCIDR(value)
		if err == nil {
			peer.AllowedIPs = append(peer.AllowedIPs, *network)
		}
		return err
	}
	return nil
}

func setKey(to *wgtypes.Key, value string) error {
	if len(value) != hex.EncodedLen(len(to)) {
		return errors.New("not a key")
	}
	_, err := hex.Decode(to[:], []byte(value))
	return err
}

func setNumber[T int | int64](to *T, value string) error {
	n, err := strconv.ParseInt(value, 10, 64)
	*to = T(n)
	return err
}

// refusal returns the error of a number in an answer; nil for 0.
func refusal(number string) error {
	code, err := strconv.Atoi(number)
	switch {
	case err != nil:
		return fmt.Errorf("unknown answer %q of the WireGuard process", number)
	case code == 0:
		return nil
	default:
		// The protocol has positive numbers, wireguard-go negative ones.
		return unix.Errno(max(code, -code))
	}
}
