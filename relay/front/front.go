package front

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/spanmesh/span/relay"
	"github.com/spanmesh/span/relay/proof"
	"github.com/spanmesh/span/relay/udp"
)

// failurePause is the pause after a failure to receive.
const failurePause = 100 * time.Millisecond

// Limits are the bounds of a relay.
type Limits struct {
	relay.Limits
	// Streams bounds the open streams, and StreamsPerAddress those of one address, or of one IPv6
	// /64.
	Streams, StreamsPerAddress int
}

// DefaultLimits returns limits that fit 10,000 members.
func DefaultLimits() Limits {
	return Limits{Limits: relay.DefaultLimits(), Streams: 1000, StreamsPerAddress: 100}
}

// streamMemory is what a stream takes at most, in bytes. An idle one takes about 40 kB.
const streamMemory = 640 << 10

// Memory returns the most memory that a Front with the limits takes, in bytes, without garbage.
func (l Limits) Memory() int64 { return l.Limits.Memory() + int64(l.Streams)*streamMemory }

// Within returns the limits with those that take memory lowered by the same factor until Memory is
// no more than a number of bytes.
func (l Limits) Within(memory int64) Limits {
	share := float64(memory) / float64(l.Memory())
	if share >= 1 {
		return l
	}
	l.Limits = l.Limits.Within(int64(float64(l.Limits.Memory()) * share))
	for _, limit := range []*int{&l.Streams, &l.StreamsPerAddress} {
		*limit = max(1, int(float64(*limit)*share))
	}
	return l
}

// Options are the inputs of a Front.
type Options struct {
	// Private is the relay's private key.
	Private relay.Key
	Limits  Limits
	// Sockets are those of UDP. Run closes them.
	Sockets []*udp.Conn
	// Table is the path of the file with the table; empty for none.
	Table string
	// Other returns what answers packets that are none of WireGuard's, and begin with a zero, as
	// those of STUN; it returns nil for no answer. It is called for each goroutine that receives.
	// Other may be nil.
	Other func() func(from netip.AddrPort, packet []byte) (answer []byte)
	Log   *slog.Logger
}

// Front is a relay with its sockets.
type Front struct {
	options Options
	public  relay.Key
	log     *slog.Logger

	// mu guards the fields below.
	mu     sync.Mutex
	router *relay.Router
	places *places
	// streams are those that are open, by number.
	streams    map[uint64]*member
	lastStream uint64
	// ofAddress and reserved count those that are open or about to be, by network and in all.
	ofAddress map[netip.Addr]int
	reserved  int
	// joined is set when there are other members than those that were saved, and renewed when some have
	// joined again.
	joined  bool
	renewed bool
	stopped bool

	unsent, streamDrops atomic.Uint64
}

// New returns a relay with what its table file has. A file that cannot be read is reported in the
// log.
func New(o Options) (*Front, error) {
	router, err := relay.New(o.Private, o.Limits.Limits)
	if err != nil {
		return nil, err
	}
	f := &Front{options: o, public: router.PublicKey(), log: o.Log, router: router, streams: map[uint64]*member{}, ofAddress: map[netip.Addr]int{}}
	if len(o.Sockets) > 1 || len(o.Sockets) == 1 && o.Sockets[0].EveryAddress() {
		f.places = newPlaces()
	}
	f.restore()
	return f, nil
}

// PublicKey returns the relay's public key.
func (f *Front) PublicKey() relay.Key { return f.public }

// Verify returns an error unless a proof of a time shows that its maker has the private key of a
// member, and asks for a cluster.
func (f *Front) Verify(now time.Time, cluster string, member relay.Key, at time.Time, shown []byte) error {
	return proof.Check(f.options.Private, member, cluster, at, now, shown)
}

// Join lets a member of a cluster register for relay.JoinFor, as relay.Router has it.
func (f *Front) Join(now time.Time, cluster string, member relay.Key, from netip.Addr, withoutAgent []relay.Key) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	known := f.router.Knows(cluster, member)
	if err := f.router.Join(now, cluster, member, from, withoutAgent); err != nil {
		return err
	}
	f.joined, f.renewed = f.joined || !known, true
	return nil
}

// Leave ends what Join has allowed.
func (f *Front) Leave(cluster string, member relay.Key) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.joined = true
	f.router.Leave(cluster, member)
}

// Counts are what a relay has done, and what it knows.
type Counts struct {
	relay.Counts
	// Streams are those that are open.
	Streams int
	// Unsent are packets that the system has not sent, and StreamDrops those that a stream had no
	// room for.
	Unsent, StreamDrops uint64
}

// Counts returns what the relay has done and knows.
func (f *Front) Counts() Counts {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := Counts{Counts: f.router.Counts(), Streams: len(f.streams), Unsent: f.unsent.Load(), StreamDrops: f.streamDrops.Load()}
	for _, m := range f.streams {
		_, dropped := m.conn.Counts()
		c.StreamDrops += dropped
	}
	return c
}

// Run serves until ctx ends. Then it saves the table, ends the streams and closes the sockets.
func (f *Front) Run(ctx context.Context) error {
	group, groupCtx := errgroup.WithContext(ctx)
	for i, socket := range f.options.Sockets {
		group.Go(func() error { return f.receive(groupCtx, i) })
		group.Go(func() error {
			<-groupCtx.Done()
			socket.Stop()
			return nil
		})
	}
	group.Go(func() error {
		f.maintain(groupCtx)
		return nil
	})
	err := group.Wait()
	f.stop()
	for _, socket := range f.options.Sockets {
		_ = socket.Close()
	}
	return err
}

// receive routes what comes to a socket.
func (f *Front) receive(ctx context.Context, socket int) error {
	conn := f.options.Sockets[socket]
	b, receiver := f.newBatch(), conn.NewReceiver()
	for {
		switch err := receiver.Receive(); {
		case errors.Is(err, udp.ErrStopped):
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("relay: receive at %s: %w", conn.LocalAddr(), err)
		case err != nil:
			f.log.Debug("packets not received", "error", err)
			select {
			case <-ctx.Done():
			case <-time.After(failurePause):
			}
			continue
		}
		b.begin()
		for p := range receiver.All() {
			b.fromUDP(socket, p)
		}
		b.end()
	}
}
