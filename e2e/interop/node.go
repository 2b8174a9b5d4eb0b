package interop

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"time"

	vnetlink "github.com/vishvananda/netlink"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"

	"github.com/spanmesh/span/e2e/internal/nodecmd"
	"github.com/spanmesh/span/e2e/lab"
)

// Node is a machine that joins as a Talos node does, and has a tunnel to each machine that it knows. It knows
// no relays, and no probes: like KubeSpan on Talos, it tries the endpoints of a peer one after the other.
type Node struct {
	Peer
	// Number is what the key is made of; no two nodes have the same.
	Number byte
}

// The times of KubeSpan on Talos (siderolabs/talos, pkg/machinery/resources/kubespan).
const (
	// nodeTrial is how long an endpoint may fail to answer until the next one is tried.
	nodeTrial = 15 * time.Second
	// nodeUp is how old a handshake of a peer may be that is up.
	nodeUp        = 275 * time.Second
	nodeKeepalive = 25
	nodeLink      = "talos0"
)

// nodePeer is what a node knows of a machine.
type nodePeer struct {
	key       string
	endpoints []string
	// tried is the endpoint that was tried last, since triedAt.
	tried   string
	triedAt time.Time
}

// Run joins, and keeps the tunnels until ctx ends. It prints what Peer.Run does.
func (n Node) Run(ctx context.Context, out io.Writer) error {
	private, err := memberKey(n.Number)
	if err != nil {
		return err
	}
	n.PublicKey = base64.StdEncoding.EncodeToString(private.PublicKey().Bytes())
	tunnel, err := tun.CreateTUN(nodeLink, device.DefaultMTU)
	if err != nil {
		return err
	}
	d := device.NewDevice(tunnel, conn.NewDefaultBind(), device.NewLogger(device.LogLevelError, "(talos) "))
	defer d.Close()
	if err := errors.Join(d.IpcSet(fmt.Sprintf("private_key=%s\nlisten_port=51820\n", hex.EncodeToString(private.Bytes()))), d.Up(), n.setUp()); err != nil {
		return err
	}
	lines := make(chan string)
	reader, writer := io.Pipe()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer func() { _ = writer.Close() }()
		return n.Peer.Run(ctx, io.MultiWriter(out, writer))
	})
	group.Go(func() error {
		defer close(lines)
		defer func() { _ = reader.Close() }()
		for scanner := bufio.NewScanner(reader); scanner.Scan(); {
			select {
			case lines <- scanner.Text():
			case <-ctx.Done():
				return nil
			}
		}
		return nil
	})
	group.Go(func() error { return n.connect(d, lines) })
	return group.Wait()
}

func (n Node) setUp() error {
	link, err := vnetlink.LinkByName(nodeLink)
	if err != nil {
		return err
	}
	return errors.Join(vnetlink.AddrAdd(link, lab.Address(netip.PrefixFrom(n.MeshAddress, 64))), vnetlink.LinkSetUp(link))
}

// connect keeps the tunnels to the machines that lines tell of, until there are no more lines.
func (n Node) connect(d *device.Device, lines <-chan string) error {
	secret, err := base64.StdEncoding.DecodeString(n.Secret)
	if err != nil {
		return err
	}
	peers := map[string]*nodePeer{}
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case line, more := <-lines:
			if !more {
				return nil
			}
			if err := learn(d, secret, peers, strings.Fields(line)); err != nil {
				return err
			}
		case now := <-ticker.C:
			shakes, err := handshakes(d)
			if err != nil {
				return err
			}
			for _, p := range peers {
				if now.Sub(shakes[p.key]) < nodeUp && shakes[p.key].After(p.triedAt) || now.Sub(p.triedAt) < nodeTrial || len(p.endpoints) == 0 {
					continue
				}
				p.tried, p.triedAt = p.next(), now
				if err := d.IpcSet(fmt.Sprintf("public_key=%s\nupdate_only=true\nendpoint=%s\n", p.key, p.tried)); err != nil {
					return err
				}
			}
		}
	}
}

// next returns the endpoint after that which was tried last.
func (p *nodePeer) next() string {
	for i, e := range p.endpoints {
		if e == p.tried {
			return p.endpoints[(i+1)%len(p.endpoints)]
		}
	}
	return p.endpoints[0]
}

// learn takes a line of Peer.Run.
func learn(d *device.Device, secret []byte, peers map[string]*nodePeer, words []string) error {
	if len(words) < 5 || words[0] != "+" {
		return nil
	}
	key, err := base64.StdEncoding.DecodeString(words[3])
	if err != nil {
		return err
	}
	p := peers[words[1]]
	if p == nil {
		p = &nodePeer{key: hex.EncodeToString(key)}
		peers[words[1]] = p
		err = d.IpcSet(fmt.Sprintf("public_key=%s\npreshared_key=%s\nallowed_ip=%s/128\npersistent_keepalive_interval=%d\n",
			p.key, hex.EncodeToString(secret), words[4], nodeKeepalive))
	}
	p.endpoints = words[5:]
	return err
}

// handshakes returns the time of the last handshake of each peer of a device, by key.
func handshakes(d *device.Device) (map[string]time.Time, error) {
	text, err := d.IpcGet()
	if err != nil {
		return nil, err
	}
	found, key := map[string]time.Time{}, ""
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch name {
		case "public_key":
			key = value
		case "last_handshake_time_sec":
			if seconds, err := strconv.ParseInt(value, 10, 64); err == nil && seconds > 0 {
				found[key] = time.Unix(seconds+1, 0) // it is rounded down
			}
		}
	}
	return found, nil
}

// talosNode is a machine that joins as Talos does, with tunnels. The argument is a Node in JSON.
func talosNode(args []string) error {
	var n Node
	if err := json.Unmarshal([]byte(args[0]), &n); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM)
	defer stop()
	fmt.Print(nodecmd.Ready)
	return n.Run(ctx, os.Stdout)
}
