package interop

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"time"

	vnetlink "github.com/vishvananda/netlink"
	"golang.org/x/crypto/blake2s"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"

	"github.com/spanmesh/span/e2e/internal/nodecmd"
	"github.com/spanmesh/span/e2e/lab"
)

// RelayMember is a machine that uses a relay, by the documentation of its calls. It has a plain
// WireGuard device.
type RelayMember struct {
	// Target is host:port of the discovery server.
	Target  string
	Cluster string
	// Number tells members apart: their keys and addresses come from it.
	Number byte
	// Peers are the numbers of the others. They are reached by the relay alone.
	Peers []byte
	// Stream makes packets go over TCP.
	Stream bool
	// Forged makes the proof be another's.
	Forged bool
}

// Address is the member's inside of the tunnel.
func (m RelayMember) Address() netip.Addr { return memberAddress(m.Number) }

func memberAddress(number byte) netip.Addr { return netip.AddrFrom4([4]byte{10, 99, 0, number}) }

func memberKey(number byte) (*ecdh.PrivateKey, error) {
	seed := sha256.Sum256([]byte{number})
	return ecdh.X25519().NewPrivateKey(seed[:])
}

// relayPlace is where a relay is.
type relayPlace struct {
	PublicKey           []byte `json:"publicKey"`
	Address, StreamPath string
}

// call calls a method of the server's relay with a message in JSON.
func (m RelayMember) call(ctx context.Context, method string, request map[string]any, response any) error {
	body, err := json.Marshal(request)
	if err != nil {
		return err
	}
	post, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+m.Target+"/spanctl.relay.v1.RelayService/"+method, bytes.NewReader(body))
	if err != nil {
		return err
	}
	post.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(post)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", method, text)
	}
	return json.Unmarshal(text, response)
}

// join registers the member's key, and returns where the relay is.
func (m RelayMember) join(ctx context.Context, own *ecdh.PrivateKey) (place relayPlace, err error) {
	if err := m.call(ctx, "Describe", map[string]any{"clusterId": m.Cluster}, &place); err != nil {
		return place, err
	}
	relay, err := ecdh.X25519().NewPublicKey(place.PublicKey)
	if err != nil {
		return place, err
	}
	shared, err := own.ECDH(relay)
	if err != nil {
		return place, err
	}
	made, public := time.Now().Truncate(time.Second), own.PublicKey().Bytes()
	h, err := blake2s.New256(shared)
	if err != nil {
		return place, err
	}
	_, _ = h.Write([]byte("span relay join v1"))
	_, _ = h.Write(public)
	_, _ = h.Write(binary.BigEndian.AppendUint64(nil, uint64(made.Unix())))
	_, _ = h.Write([]byte(m.Cluster))
	if m.Forged {
		_, _ = h.Write([]byte{0})
	}
	var lease struct{ Lease string }
	err = m.call(ctx, "Join", map[string]any{"clusterId": m.Cluster, "publicKey": public, "made": made.UTC().Format(time.RFC3339), "proof": h.Sum(nil)}, &lease)
	if err == nil && lease.Lease != "3600s" {
		err = fmt.Errorf("the lease is %q", lease.Lease)
	}
	return place, err
}

// carry opens a stream to the relay, and returns a local address whose packets it carries.
func (m RelayMember) carry(ctx context.Context, path string) (netip.AddrPort, error) {
	stream, err := new(net.Dialer).DialContext(ctx, "tcp", m.Target)
	if err != nil {
		return netip.AddrPort{}, err
	}
	_, err = fmt.Fprintf(stream, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: spanctl-relay\r\n\r\n", path, m.Target)
	if err != nil {
		return netip.AddrPort{}, err
	}
	reader := bufio.NewReader(stream)
	response, err := http.ReadResponse(reader, nil)
	if err != nil {
		return netip.AddrPort{}, err
	}
	_ = response.Body.Close() // an upgrade has none
	if response.StatusCode != http.StatusSwitchingProtocols {
		return netip.AddrPort{}, fmt.Errorf("the stream's status is %s", response.Status)
	}
	local, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return netip.AddrPort{}, err
	}
	device := net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:51820"))
	go func() {
		packet := make([]byte, 1<<16)
		for {
			var size [2]byte
			if _, err := io.ReadFull(reader, size[:]); err != nil {
				fmt.Println("the stream has ended")
				return
			}
			n, err := io.ReadFull(reader, packet[:binary.BigEndian.Uint16(size[:])])
			if err == nil && n > 0 {
				_, err = local.WriteToUDP(packet[:n], device)
			}
			if err != nil {
				return
			}
		}
	}()
	go func() {
		frame := make([]byte, 2+1<<16)
		for {
			n, _, err := local.ReadFromUDP(frame[2:])
			if err != nil {
				return
			}
			binary.BigEndian.PutUint16(frame, uint16(n))
			if _, err := stream.Write(frame[:2+n]); err != nil {
				return
			}
		}
	}()
	return local.LocalAddr().(*net.UDPAddr).AddrPort(), nil
}

// Run joins the relay, and uses it until ctx ends.
func (m RelayMember) Run(ctx context.Context) error {
	own, err := memberKey(m.Number)
	if err != nil {
		return err
	}
	place, err := m.join(ctx, own)
	if err != nil {
		return err
	}
	host, port, err := net.SplitHostPort(place.Address)
	if err != nil {
		return err
	}
	if host == "" {
		if host, _, err = net.SplitHostPort(m.Target); err != nil {
			return err
		}
	}
	at := net.JoinHostPort(host, port)
	if m.Stream {
		local, err := m.carry(ctx, place.StreamPath)
		if err != nil {
			return err
		}
		at = local.String()
	}
	tunnel, err := tun.CreateTUN("relay0", device.DefaultMTU)
	if err != nil {
		return err
	}
	d := device.NewDevice(tunnel, conn.NewDefaultBind(), device.NewLogger(device.LogLevelError, "(member) "))
	defer d.Close()
	var config strings.Builder
	fmt.Fprintf(&config, "private_key=%s\nlisten_port=51820\npublic_key=%s\nendpoint=%s\npersistent_keepalive_interval=10\n",
		hex.EncodeToString(own.Bytes()), hex.EncodeToString(place.PublicKey), at)
	for _, number := range m.Peers {
		other, err := memberKey(number)
		if err != nil {
			return err
		}
		fmt.Fprintf(&config, "public_key=%s\nendpoint=%s\nallowed_ip=%s/32\n", hex.EncodeToString(other.PublicKey().Bytes()), at, memberAddress(number))
	}
	if err := errors.Join(d.IpcSet(config.String()), d.Up(), m.setUp()); err != nil {
		return err
	}
	fmt.Print(nodecmd.Ready)
	<-ctx.Done()
	return nil
}

func (m RelayMember) setUp() error {
	link, err := vnetlink.LinkByName("relay0")
	if err != nil {
		return err
	}
	return errors.Join(vnetlink.AddrAdd(link, lab.Address(netip.PrefixFrom(m.Address(), 24))), vnetlink.LinkSetUp(link))
}

// relayMember is a machine that uses a relay. The argument is a RelayMember in JSON.
func relayMember(args []string) error {
	var m RelayMember
	if err := json.Unmarshal([]byte(args[0]), &m); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	return m.Run(ctx)
}
