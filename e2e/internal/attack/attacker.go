package attack

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/e2e/internal/wire"
	"github.com/spanmesh/span/e2e/lab"
)

// Commands are what a program that calls Run does inside of the lab's nodes.
var Commands = map[string]lab.Subcommand{
	commandAttack: attackCommand,
	commandHonest: honestCommand,
	commandUse:    useCommand,
}

const (
	// commandAttack runs the attack args[0] on the address args[1], at 1/args[2] of its size,
	// with the certificate in the file args[3] if there is one.
	commandAttack = "attack"
	// commandHonest uses the server at the address args[0], with the certificate in the file
	// args[1] if there is one.
	commandHonest = "honest"
	// commandUse reads the metrics at the address args[0], with the certificate in the file
	// args[1] if there is one.
	commandUse = "use"
	// begun is what a command prints when it is in full swing.
	begun = "begun\n"
)

// crowd are the addresses of the attacker's node, beside its own. An attack from many
// addresses uses the first half, the machines that fill a cluster the second.
var crowd = netip.MustParsePrefix("10.64.0.0/10")

// ownAddress is the source of connections from the node's own address.
const ownAddress = -1

// firstMachine is the source of the first of the machines that fill a cluster.
const firstMachine = 1 << 21

// source returns the address of a source in crowd.
func source(i int) netip.Addr {
	a := crowd.Addr().As4()
	n := i + 1
	return netip.AddrFrom4([4]byte{a[0], a[1] + byte(n>>16), byte(n >> 8), byte(n)})
}

// Tally is what an attacker counted.
type Tally struct {
	// Done counts connections that were made, or calls that were answered.
	Done int64
	// Refused counts connections that the server ended or refused, or calls that it refused.
	Refused int64
}

// attacker is the state of an attack.
type attacker struct {
	address string
	tls     *tls.Config
	// scale divides the size of the attack.
	scale int
	// many is set if each connection comes from an address of its own.
	many bool

	done, refused atomic.Int64
	// swing is closed when the attack is in full swing.
	swing chan struct{}
	once  sync.Once
}

// attackCommand implements commandAttack. It runs until SIGTERM, and prints a Tally.
func attackCommand(args []string) error {
	attack, ok := byName(args[0])
	if !ok {
		return fmt.Errorf("no attack has the name %q", args[0])
	}
	scale, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	a := &attacker{address: args[1], scale: scale, many: attack.Many, swing: make(chan struct{})}
	if len(args) > 3 {
		if a.tls, err = trusting(args[3]); err != nil {
			return err
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM)
	defer stop()
	failed := make(chan error, 1)
	go func() { failed <- attack.run(ctx, a) }()
	select {
	case err := <-failed:
		return err
	case <-a.swing:
	}
	fmt.Print(begun)
	if err := <-failed; err != nil && ctx.Err() == nil {
		return err
	}
	<-ctx.Done()
	return json.NewEncoder(os.Stdout).Encode(Tally{a.done.Load(), a.refused.Load()})
}

// trusting returns a configuration that trusts the certificate in a file.
func trusting(path string) (*tls.Config, error) {
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s has no certificate", path)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots, ServerName: serverName, NextProtos: []string{"h2"}}, nil
}

// size returns n at the scale of the attack.
func (a *attacker) size(n int) int { return max(1, n/a.scale) }

// inFullSwing ends the attack's beginning.
func (a *attacker) inFullSwing() { a.once.Do(func() { close(a.swing) }) }

// Pause waits, and reports whether ctx goes on.
func Pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// retryAfter is how long an attacker waits until it connects again.
const retryAfter = 200 * time.Millisecond

// crew attacks from n goroutines until ctx ends. Each calls work again when it fails. The
// attack is in full swing when each has called begun, or has failed once.
func (a *attacker) crew(ctx context.Context, n int, work func(ctx context.Context, i int, begun func()) error) error {
	var waiting atomic.Int64
	waiting.Store(int64(n))
	var group errgroup.Group
	for i := range n {
		group.Go(func() error {
			begun := sync.OnceFunc(func() {
				if waiting.Add(-1) == 0 {
					a.inFullSwing()
				}
			})
			for {
				err := work(ctx, i, begun)
				begun()
				if ctx.Err() != nil {
					return nil
				}
				if errors.Is(err, errMistake) {
					return err
				}
				a.refused.Add(1)
				if !Pause(ctx, retryAfter) {
					return nil
				}
			}
		})
	}
	return group.Wait()
}

// errMistake is the error of an attack that is at fault itself.
var errMistake = errors.New("the attack is wrong")

// dialTimeout bounds a connection's beginning.
const dialTimeout = 10 * time.Second

// dial connects for the i-th goroutine. The connection is closed when ctx ends.
func (a *attacker) dial(ctx context.Context, i int) (net.Conn, error) {
	conn, err := a.connect(ctx, i, 0)
	if err != nil || a.tls == nil {
		return conn, err
	}
	secure := tls.Client(conn, a.tls)
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return secure, nil
}

// connect makes a TCP connection for the i-th goroutine, with a receive buffer of so many
// bytes, or the kernel's default.
func (a *attacker) connect(ctx context.Context, i, receive int) (net.Conn, error) {
	from := ownAddress
	if a.many {
		from = i
	}
	return a.connectFrom(ctx, from, receive)
}

func (a *attacker) connectFrom(ctx context.Context, from, receive int) (net.Conn, error) {
	dialer := net.Dialer{Timeout: dialTimeout, KeepAlive: -1}
	if from != ownAddress {
		dialer.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(source(from), 0))
	}
	if receive > 0 {
		dialer.Control = func(_, _ string, raw syscall.RawConn) error {
			var err error
			return errors.Join(raw.Control(func(fd uintptr) {
				err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, receive)
			}), err)
		}
	}
	conn, err := dialer.DialContext(ctx, "tcp", a.address)
	if err != nil {
		return nil, err
	}
	a.done.Add(1)
	context.AfterFunc(ctx, func() { _ = conn.Close() })
	return conn, nil
}

// client returns a well-behaved client whose connections come from an address.
func (a *attacker) client(from int) (wire.Client, error) {
	return wire.NewClient(a.address, a.tls, func(ctx context.Context) (net.Conn, error) {
		// The context that gRPC passes ends when the connection stands.
		conn, err := a.connectFrom(context.WithoutCancel(ctx), from, 0)
		a.done.Add(-1)
		return conn, err
	})
}

// fill publishes machines of a cluster, each from an address of its own.
func (a *attacker) fill(ctx context.Context, cluster string, machines, size int) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(32)
	for i := range machines {
		group.Go(func() error { return a.publish(ctx, cluster, i, size) })
	}
	return group.Wait()
}

// publish publishes the i-th machine of a cluster with new data.
func (a *attacker) publish(ctx context.Context, cluster string, i, size int) error {
	c, err := a.client(firstMachine + i)
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	if _, err = c.Call(ctx, "AffiliateUpdate", wire.UpdateRequest(cluster, fmt.Sprintf("machine-%d", i), lifetime, noise(size))); err != nil {
		return fmt.Errorf("machine %d: %w", i, err)
	}
	return nil
}

// lifetime is the TTL of all updates. It is short, so that memory is free again soon after an
// attack.
const lifetime = time.Minute

// churnInterval is the time between two changes of a cluster that churns.
const churnInterval = 100 * time.Millisecond

// churn changes machines of a cluster until ctx ends.
func (a *attacker) churn(ctx context.Context, cluster string, machines, size int) {
	for i := 0; Pause(ctx, churnInterval); i = (i + 1) % machines {
		// A server under attack may refuse it.
		_ = a.publish(ctx, cluster, i, size)
	}
}
