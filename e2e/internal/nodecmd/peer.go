package nodecmd

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"strconv"

	vnetlink "github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/ipc"
	"golang.zx2c4.com/wireguard/tun"
	"golang.zx2c4.com/wireguard/wgctrl"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/spanmesh/span/e2e/lab"
)

// makePSK prints a preshared key, as `wg genpsk` does.
func makePSK([]string) error {
	key, err := wgtypes.GenerateKey()
	fmt.Println(key)
	return err
}

// printPublicKey prints the public key of the mesh's link.
func printPublicKey([]string) error {
	client, err := wgctrl.New()
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	d, err := client.Device(MeshLink)
	if err == nil {
		fmt.Println(d.PublicKey)
	}
	return err
}

// phoneKey is the file of a phone's private key.
const phoneKey = "/run/phone.key"

// makePhoneKey makes a phone's key and prints the public half.
func makePhoneKey([]string) error {
	key, err := wgtypes.GeneratePrivateKey()
	if err != nil {
		return err
	}
	fmt.Println(key.PublicKey())
	return os.WriteFile(phoneKey, []byte(key.String()), 0o600)
}

// phone runs WireGuard and nothing else, as phones do. Its arguments are the peer's public
// key, preshared key, endpoint and address, and then the phone's own addresses.
func phone(args []string) error {
	text, err := os.ReadFile(phoneKey)
	if err != nil {
		return err
	}
	var keys []wgtypes.Key
	for _, k := range []string{string(text), args[0], args[1]} {
		key, err := wgtypes.ParseKey(k)
		if err != nil {
			return err
		}
		keys = append(keys, key)
	}
	tunnel, err := tun.CreateTUN("phone0", device.DefaultMTU)
	if err != nil {
		return err
	}
	d := device.NewDevice(tunnel, conn.NewDefaultBind(), device.NewLogger(device.LogLevelError, "(phone) "))
	defer d.Close()
	err = d.IpcSet(fmt.Sprintf("private_key=%s\npublic_key=%s\npreshared_key=%s\nendpoint=%s\nallowed_ip=%s\n",
		hex.EncodeToString(keys[0][:]), hex.EncodeToString(keys[1][:]), hex.EncodeToString(keys[2][:]), args[2], args[3]+"\nallowed_ip=172.20.0.0/24"))
	if err != nil {
		return err
	}
	if err := errors.Join(d.Up(), setUp("phone0", args[3], args[4:]...)); err != nil {
		return err
	}
	return AwaitSignal()
}

// wireguardGo is the userspace implementation for wg-quick(8): it makes the link args[0], whose control
// socket is where wg(8) looks, and ends with the link.
func wireguardGo(args []string) error {
	tunnel, err := tun.CreateTUN(args[0], device.DefaultMTU)
	if err != nil {
		return err
	}
	d := device.NewDevice(tunnel, conn.NewDefaultBind(), &device.Logger{Verbosef: device.DiscardLogf, Errorf: device.DiscardLogf})
	defer d.Close()
	socket, err := ipc.UAPIOpen(args[0])
	if err != nil {
		return err
	}
	control, err := ipc.UAPIListen(args[0], socket)
	if err != nil {
		return err
	}
	defer func() { _ = control.Close() }()
	go func() {
		for {
			c, err := control.Accept()
			if err != nil {
				return // it was closed
			}
			go d.IpcHandle(c)
		}
	}()
	fmt.Print(Ready)
	<-d.Wait()
	return nil
}

// setUp gives a link a route to a network, and addresses.
func setUp(name, to string, own ...string) error {
	link, err := vnetlink.LinkByName(name)
	if err != nil {
		return err
	}
	for _, text := range own {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return err
		}
		if err := vnetlink.AddrAdd(link, lab.Address(prefix)); err != nil {
			return err
		}
	}
	if err := vnetlink.LinkSetUp(link); err != nil {
		return err
	}
	network, err := vnetlink.ParseIPNet(to)
	if err != nil {
		return err
	}
	if err := vnetlink.RouteAdd(&vnetlink.Route{LinkIndex: link.Attrs().Index, Dst: network}); err != nil {
		return err
	}
	// Packets to the peer's address outside of the mesh are answered through the tunnel.
	rule := vnetlink.NewRule()
	rule.Family, rule.Table, rule.Priority = unix.AF_INET, 1000, 100
	rule.Src = vnetlink.NewIPNet(net.IPv4(172, 20, 0, 77))
	if err := vnetlink.RuleAdd(rule); err != nil {
		return err
	}
	return vnetlink.RouteAdd(&vnetlink.Route{LinkIndex: link.Attrs().Index, Table: rule.Table,
		Dst: &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}})
}

// sinkPort is the TCP port of tcpSink.
const sinkPort = "7777"

// tcpSink reads what arrives over TCP and answers with the number of bytes.
func tcpSink([]string) error {
	listener, err := net.Listen("tcp", ":"+sinkPort)
	if err != nil {
		return err
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, unix.SIGTERM)
	go func() {
		<-stop
		_ = listener.Close()
	}()
	fmt.Print(Ready)
	for {
		c, err := listener.Accept()
		if err != nil {
			return nil // after SIGTERM
		}
		n, err := io.Copy(io.Discard, c)
		if err == nil {
			_, err = fmt.Fprint(c, n)
		}
		if err := errors.Join(err, c.Close()); err != nil {
			return err
		}
	}
}

// tcpSend sends args[1] bytes to tcpSink at the address args[0].
func tcpSend(args []string) error {
	size, err := strconv.ParseInt(args[1], 10, 64)
	if err != nil {
		return err
	}
	c, err := net.Dial("tcp", net.JoinHostPort(args[0], sinkPort))
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	if _, err := io.CopyN(c, zeros{}, size); err != nil {
		return err
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		return err
	}
	got, err := io.ReadAll(c)
	if err == nil && string(got) != args[1] {
		err = fmt.Errorf("%s bytes of %s arrived", got, args[1])
	}
	return err
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}
