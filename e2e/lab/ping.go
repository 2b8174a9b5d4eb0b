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
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// subcommandPing sends echo requests. Its arguments are the address, how many requests
// to send from the first that is answered on (0: until SIGTERM), and how long to send
// at most (0s: no limit).
const subcommandPing = "ping"

const (
	// PingInterval is the time between two requests. It is short, so that a gap in the
	// traffic is seen.
	PingInterval = 20 * time.Millisecond
	// lastReply is how long to wait for missing replies after the last request. On a busy
	// machine a reply takes a while.
	lastReply = 15 * time.Second
)

// Pings counts requests from the first that was answered on.
type Pings struct {
	Sent, Received int
	// First is the time from the very first request to the first reply.
	First time.Duration
	// Gap is the longest time between two replies, or between the last and the end of the stream.
	Gap time.Duration
}

// Lost returns how many requests had no reply.
func (p Pings) Lost() int { return p.Sent - p.Received }

// Ping sends echo requests from the node to an address until one is answered.
func (n *Node) Ping(ctx context.Context, to netip.Addr) (Pings, error) {
	return n.ping(ctx, to, 1, 0)
}

// PingMany sends count echo requests, from the first that is answered on.
func (n *Node) PingMany(ctx context.Context, to netip.Addr, count int) (Pings, error) {
	return n.ping(ctx, to, count, 0)
}

// PingFor sends echo requests for a time, or until one is answered.
func (n *Node) PingFor(ctx context.Context, to netip.Addr, limit time.Duration) (Pings, error) {
	return n.ping(ctx, to, 1, limit)
}

func (n *Node) ping(ctx context.Context, to netip.Addr, count int, limit time.Duration) (Pings, error) {
	cmd, err := n.Subcommand(ctx, subcommandPing, to.String(), strconv.Itoa(count), limit.String())
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

// KeepPinging starts a stream of echo requests from the node to an address. It returns
// when the first was answered.
func (n *Node) KeepPinging(ctx context.Context, to netip.Addr) (*Pinging, error) {
	cmd, err := n.Subcommand(ctx, subcommandPing, to.String(), "0", "0s")
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

// Stop ends the stream and returns its counts.
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

// answered is what an endless ping prints at the first reply.
const answered = "answered\n"

// pinger is the state of a ping. Requests carry a number in their data.
type pinger struct {
	conn    *net.IPConn
	to      netip.Addr
	request icmp.Type
	reply   icmp.Type
	// count is how many requests to send, 0 for no limit.
	count int
	// limit is how long to send, 0 for no limit.
	limit time.Duration
	// next is the number of the next request.
	next int
	// first is the number of the first request that was answered, -1 before.
	first int
	// start is when the first request was sent.
	start time.Time
	pings Pings
	// last is when the last reply came.
	last time.Time
	// done is closed when replies are no longer counted.
	done chan struct{}
}

// ping implements the subcommand.
func ping(args []string) error {
	to, err := netip.ParseAddr(args[0])
	if err != nil {
		return err
	}
	p := &pinger{to: to, request: ipv4.ICMPTypeEcho, reply: ipv4.ICMPTypeEchoReply, first: -1, start: time.Now(), done: make(chan struct{})}
	if p.count, err = strconv.Atoi(args[1]); err != nil {
		return err
	}
	if p.limit, err = time.ParseDuration(args[2]); err != nil {
		return err
	}
	network, protocol := "ip4:icmp", unix.IPPROTO_ICMP
	if to.Is6() {
		p.request, p.reply = ipv6.ICMPTypeEchoRequest, ipv6.ICMPTypeEchoReply
		network, protocol = "ip6:ipv6-icmp", unix.IPPROTO_ICMPV6
	}
	if p.conn, err = listenForReplies(network); err != nil {
		return err
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, unix.SIGTERM)
	replies := make(chan int)
	var group errgroup.Group
	group.Go(func() error { return p.receive(protocol, replies) })
	p.run(stop, replies)
	close(p.done)
	if err := errors.Join(p.conn.Close(), group.Wait()); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(p.pings)
}

// receiveBuffer is enough for some seconds in which the process does not run, on a busy machine.
const receiveBuffer = 8 << 20

// listenForReplies opens a raw socket that receives replies alone.
func listenForReplies(network string) (*net.IPConn, error) {
	conn, err := net.ListenIP(network, nil)
	if err != nil {
		return nil, err
	}
	raw, err := conn.SyscallConn()
	if err == nil {
		var failed error
		err = raw.Control(func(fd uintptr) {
			failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer)
		})
		err = errors.Join(err, failed)
	}
	if strings.HasPrefix(network, "ip6") {
		var only ipv6.ICMPFilter
		only.SetAll(true)
		only.Accept(ipv6.ICMPTypeEchoReply)
		err = errors.Join(err, ipv6.NewPacketConn(conn).SetICMPFilter(&only))
	} else {
		var only ipv4.ICMPFilter
		only.SetAll(true)
		only.Accept(ipv4.ICMPTypeEchoReply)
		err = errors.Join(err, ipv4.NewPacketConn(conn).SetICMPFilter(&only))
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// run sends requests until there are enough, and then waits for the last replies.
func (p *pinger) run(stop <-chan os.Signal, replies <-chan int) {
	ticker := time.NewTicker(PingInterval)
	defer ticker.Stop()
	var over <-chan time.Time // not nil once the last request was sent
	limit := make(<-chan time.Time)
	if p.limit > 0 {
		limit = time.After(p.limit)
	}
	p.send()
	for {
		select {
		case <-ticker.C:
			p.send()
		case n := <-replies:
			p.receivedReply(n)
		case <-stop:
			p.pings.Gap = max(p.pings.Gap, time.Since(p.last))
			ticker.Stop()
			over = time.After(lastReply)
		case <-limit:
			return
		case <-over:
			return
		}
		if p.count == 1 && p.first >= 0 {
			return
		}
		if over == nil && p.count > 0 && p.pings.Sent >= p.count {
			ticker.Stop()
			over = time.After(lastReply)
		}
		if over != nil && p.pings.Lost() == 0 {
			return
		}
	}
}

// send sends the next request. A route may be missing for a while: a request that cannot
// be sent counts as lost.
func (p *pinger) send() {
	_ = p.write(p.next)
	p.next++
	if p.first >= 0 {
		p.pings.Sent++
	}
}

// receivedReply counts the reply to the request n.
func (p *pinger) receivedReply(n int) {
	if p.first < 0 {
		p.first, p.pings.First, p.pings.Sent = n, time.Since(p.start), p.next-n
		if p.count == 0 {
			_, _ = os.Stdout.WriteString(answered)
		}
	}
	if n >= p.first {
		now := time.Now()
		if !p.last.IsZero() {
			p.pings.Gap = max(p.pings.Gap, now.Sub(p.last))
		}
		p.last = now
		p.pings.Received++
	}
}

func (p *pinger) write(n int) error {
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

// receive passes on the numbers of the requests that are answered.
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
			case <-p.done:
				return nil
			}
		}
	}
}
