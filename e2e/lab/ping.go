package lab

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// rolePing sends echo requests: its arguments are the address and how many
// replies to wait for, 0 for as long as the process lives.
const rolePing = "ping"

const (
	// pingInterval is the time between two requests: short, so that a gap in
	// the traffic is seen.
	pingInterval = 20 * time.Millisecond
	// lastReply is how long to wait for replies after the last request.
	lastReply = 500 * time.Millisecond
)

// Pings is what came of requests.
type Pings struct {
	Sent, Received int
	// First is how long the first reply took from the first request.
	First time.Duration
}

// Lost is how many requests had no reply.
func (p Pings) Lost() int { return p.Sent - p.Received }

// Ping sends echo requests from the node to an address until one is answered.
func (n *Node) Ping(ctx context.Context, to netip.Addr) (Pings, error) {
	cmd, err := n.Role(ctx, rolePing, to.String(), "1")
	if err != nil {
		return Pings{}, err
	}
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return Pings{}, fmt.Errorf("ping %s from %s: %w", to, n.Name, errors.Join(err, ctx.Err()))
	}
	return parsePings(out)
}

// Pinging is a stream of echo requests.
type Pinging struct{ process *Process }

// KeepPinging begins a stream of echo requests from the node to an address. It
// returns when the first was answered.
func (n *Node) KeepPinging(ctx context.Context, to netip.Addr) (*Pinging, error) {
	cmd, err := n.Role(ctx, rolePing, to.String(), "0")
	if err != nil {
		return nil, err
	}
	process, err := Start(cmd)
	if err != nil {
		return nil, err
	}
	_, err = process.Await(ctx, 0, answered)
	return &Pinging{process}, err
}

// Stop ends the stream and tells what came of it, without what was lost before
// the first reply.
func (p *Pinging) Stop() (Pings, error) {
	if err := p.process.Stop(unix.SIGTERM); err != nil {
		return Pings{}, fmt.Errorf("%w: %s", err, p.process.Output())
	}
	return parsePings([]byte(p.process.Output()[len(answered):]))
}

func parsePings(out []byte) (Pings, error) {
	var p Pings
	if err := json.Unmarshal(out, &p); err != nil {
		return Pings{}, fmt.Errorf("ping said %q: %w", out, err)
	}
	return p, nil
}

// answered is what an endless ping says at the first reply.
const answered = "answered\n"

// pinger is the state of a ping. Requests carry a number in their data.
type pinger struct {
	conn    *icmp.PacketConn
	to      netip.Addr
	request icmp.Type
	reply   icmp.Type
	// first is the number of the first request that was answered, -1 before.
	first int
	began time.Time
	pings Pings
}

// ping implements the role.
func ping(args []string) error {
	to, err := netip.ParseAddr(args[0])
	if err != nil {
		return err
	}
	endless := args[1] == "0"
	p := &pinger{to: to, request: ipv4.ICMPTypeEcho, reply: ipv4.ICMPTypeEchoReply, first: -1, began: time.Now()}
	network, protocol := "ip4:icmp", unix.IPPROTO_ICMP
	if to.Is6() {
		p.request, p.reply = ipv6.ICMPTypeEchoRequest, ipv6.ICMPTypeEchoReply
		network, protocol = "ip6:ipv6-icmp", unix.IPPROTO_ICMPV6
	}
	if p.conn, err = icmp.ListenPacket(network, ""); err != nil {
		return err
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, unix.SIGTERM)
	replies := make(chan int)
	var group errgroup.Group
	group.Go(func() error { return p.receive(protocol, replies) })
	p.run(endless, stop, replies)
	if err := errors.Join(p.conn.Close(), group.Wait()); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(p.pings)
}

// run sends requests and counts replies until it is enough.
func (p *pinger) run(endless bool, stop <-chan os.Signal, replies <-chan int) {
	ticker := time.NewTicker(pingInterval)
	defer ticker.Stop()
	var over <-chan time.Time
	// A route may be missing for a while: that is a loss like another.
	_ = p.send(0)
	for sent := 1; ; {
		select {
		case <-ticker.C:
			_ = p.send(sent)
			sent++
			if p.first >= 0 {
				p.pings.Sent++
			}
		case n := <-replies:
			if p.first < 0 {
				p.first, p.pings.First, p.pings.Sent = n, time.Since(p.began), sent-n
				if endless {
					_, _ = os.Stdout.WriteString(answered)
				}
			}
			if n >= p.first {
				p.pings.Received++
			}
			if !endless || over != nil && p.pings.Lost() == 0 {
				return
			}
		case <-stop:
			ticker.Stop()
			over = time.After(lastReply)
			if p.pings.Lost() == 0 {
				return
			}
		case <-over:
			return
		}
	}
}

func (p *pinger) send(n int) error {
	data := binary.BigEndian.AppendUint32(nil, uint32(n))
	message := icmp.Message{Type: p.request, Body: &icmp.Echo{ID: p.id(), Seq: n & 0xffff, Data: data}}
	raw, err := message.Marshal(nil) // the kernel fills in the checksum of ICMPv6
	if err != nil {
		return err
	}
	_, err = p.conn.WriteTo(raw, &net.IPAddr{IP: p.to.AsSlice()})
	return err
}

func (p *pinger) id() int { return os.Getpid() & 0xffff }

// receive hands on the numbers of our requests that are answered.
func (p *pinger) receive(protocol int, replies chan<- int) error {
	buffer := make([]byte, 1500)
	for {
		n, _, err := p.conn.ReadFrom(buffer)
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		message, err := icmp.ParseMessage(protocol, buffer[:n])
		if err != nil || message.Type != p.reply {
			continue
		}
		if echo, ok := message.Body.(*icmp.Echo); ok && echo.ID == p.id() && len(echo.Data) == 4 {
			select {
			case replies <- int(binary.BigEndian.Uint32(echo.Data)):
			case <-time.After(lastReply):
				return nil // nobody counts any more
			}
		}
	}
}
