package userspace

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/netip"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/netlinkapply/wgdevice"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/state"
)

// Read reads the settings and peers of the link's device into d. Wgctrl would wait for ever for a
// process that does not answer.
func Read(link string, d *wgdevice.Device) error {
	return use(link, func(c net.Conn) error {
		if _, err := io.WriteString(c, "get=1\n\n"); err != nil {
			return err
		}
		return parseDevice(c, d)
	})
}

const (
	// readSize is how many bytes are received at once, and thus the length of the longest line.
	readSize = 64 << 10
	// maxAnswer is the length of the longest answer.
	maxAnswer = 256 << 20
)

// format is that of the values in an answer. Each network is a line.
var format = wgdevice.Format{
	Endpoint: func(raw []byte) (netip.AddrPort, error) {
		e, err := netip.ParseAddrPort(string(raw))
		if err != nil {
			return e, fmt.Errorf("%.60q is not an endpoint", raw)
		}
		return netip.AddrPortFrom(e.Addr().Unmap(), e.Port()), nil
	},
	Networks: func(raw []byte) (all []netip.Prefix, err error) {
		for line := range bytes.Lines(raw) {
			n, err := netip.ParsePrefix(string(bytes.TrimSuffix(line, newline)))
			if err != nil {
				return nil, fmt.Errorf("%.60q is not a network", line)
			}
			all = append(all, n)
		}
		return all, nil
	},
}

var newline = []byte{'\n'}

// parseDevice reads the answer to "get=1" (wireguard.com/xplatform). An answer that is the last one
// makes no garbage.
func parseDevice(r io.Reader, d *wgdevice.Device) error {
	d.Begin(format)
	p := answerParser{device: d}
	lines := bufio.NewScanner(io.LimitReader(r, maxAnswer))
	lines.Buffer(d.Buffer(readSize), readSize)
	for lines.Scan() {
		line := lines.Bytes()
		if len(line) == 0 {
			return d.End()
		}
		// No error has the line: it may be a secret.
		name, value, found := bytes.Cut(line, []byte{'='})
		if !found {
			return errors.New("a line in the answer of the WireGuard process is no setting")
		}
		if err := p.set(name, value); err != nil {
			return fmt.Errorf("setting %.40q in the answer of the WireGuard process: %w", name, err)
		}
	}
	return errors.Join(errors.New("the answer of the WireGuard process ended early"), lines.Err())
}

// answerParser reads the lines of an answer.
type answerParser struct {
	device *wgdevice.Device
	// peer is the one that lines are about; nil before the first.
	peer *state.Peer
}

func (p *answerParser) set(name, value []byte) (err error) {
	switch string(name) {
	case "errno":
		return refusal(string(value))
	case "public_key":
		return p.setPublicKey(value)
	}
	if p.peer != nil {
		return p.setPeer(name, value)
	}
	var n int64
	switch string(name) {
	case "private_key":
		p.device.PrivateKey, err = parseSecret(value)
	case "listen_port":
		n, err = parseNumber(value, 0, math.MaxUint16)
		p.device.ListenPort = int(n)
	case "fwmark":
		n, err = parseNumber(value, 0, math.MaxUint32)
		p.device.FirewallMark = uint32(n)
	}
	return err
}

func (p *answerParser) setPublicKey(value []byte) error {
	var key mesh.Key
	err := parseKey((*[32]byte)(&key), value)
	if err != nil {
		return err
	}
	var again bool
	if p.peer, again, err = p.device.Peer(key); again {
		return fmt.Errorf("peer %s is there twice", key)
	}
	return err
}

func (p *answerParser) setPeer(name, value []byte) (err error) {
	var n int64
	switch string(name) {
	case "preshared_key":
		p.peer.PresharedKey, err = parseSecret(value)
	case "endpoint":
		return p.device.Endpoint(value)
	case "last_handshake_time_sec":
		if n, err = parseNumber(value, math.MinInt64, math.MaxInt64); n > 0 {
			p.peer.LastHandshake = time.Unix(n, 0)
		}
	case "last_handshake_time_nsec":
		n, err = parseNumber(value, 1-int64(time.Second), int64(time.Second)-1)
		if !p.peer.LastHandshake.IsZero() {
			p.peer.LastHandshake = p.peer.LastHandshake.Add(time.Duration(n))
		}
	case "tx_bytes":
		p.peer.TransmitBytes, err = parseNumber(value, 0, math.MaxInt64)
	case "rx_bytes":
		p.peer.ReceiveBytes, err = parseNumber(value, 0, math.MaxInt64)
	case "persistent_keepalive_interval":
		n, err = parseNumber(value, 0, math.MaxUint16)
		p.peer.Keepalive = time.Duration(n) * time.Second
	case "allowed_ip":
		return errors.Join(p.device.Networks(value), p.device.Networks(newline))
	}
	return err
}

func parseSecret(value []byte) (mesh.PrivateKey, error) {
	var raw [mesh.KeySize]byte
	err := parseKey(&raw, value)
	return mesh.SecretKey(raw), err
}

func parseKey(to *[mesh.KeySize]byte, value []byte) error {
	if len(value) != hex.EncodedLen(len(to)) {
		return errors.New("not a key")
	}
	if _, err := hex.Decode(to[:], value); err != nil {
		return errors.New("not a key")
	}
	return nil
}

// parseNumber parses a number from least to most.
func parseNumber(value []byte, least, most int64) (int64, error) {
	n, err := strconv.ParseInt(string(value), 10, 64)
	if err != nil || n < least || n > most {
		return 0, errors.New("not a number, or not in range")
	}
	return n, nil
}

// refusal returns the error of a number in an answer; nil for 0.
func refusal(number string) error {
	code, err := strconv.Atoi(number)
	switch {
	case err != nil:
		return fmt.Errorf("unknown answer %.40q of the WireGuard process", number)
	case code == 0:
		return nil
	default:
		// The protocol has positive numbers, wireguard-go negative ones.
		return unix.Errno(max(code, -code))
	}
}
