package soak

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/e2e/internal/attack"
	"github.com/spanmesh/span/e2e/internal/wire"
)

// Options configure a soak.
type Options struct {
	// Binary is the path of spanctl.
	Binary string
	// Lasting is how long the soak takes, beside the time that its checks take.
	Lasting time.Duration
	// Cycles is the number of incidents.
	Cycles int
	// Growth is how much more resident memory the server may have at its end than when it
	// began, in bytes.
	Growth int64
	// Log receives a line for each incident.
	Log io.Writer
}

// network is that of the soak's lab. It is another than those of the tests, which may run in
// the same program.
var network = netip.MustParsePrefix("172.29.0.0/24")

// soak is the state of a run.
type soak struct {
	Options
	arena    *attack.Arena
	server   *server
	writers  *writers
	watchers []*watcher
}

// Run soaks a server. The program must have called lab.Main with Commands and
// attack.Commands.
func Run(ctx context.Context, o Options) (err error) {
	arena, err := attack.NewArena(o.Binary, network)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, arena.Close()) }()
	if err := arena.Join(); err != nil {
		return fmt.Errorf("join the lab: %w", err)
	}
	s := &soak{Options: o, arena: arena}
	if s.server, err = newServer(ctx, arena); err != nil {
		return err
	}
	c, err := s.client()
	if err != nil {
		return err
	}
	defer c.Close()
	s.writers = newWriters(c)
	ctx, stop := context.WithCancel(ctx)
	var watching errgroup.Group
	for i := range clusters {
		w := &watcher{client: c, cluster: clusterName(i)}
		s.watchers = append(s.watchers, w)
		watching.Go(func() error { w.run(ctx); return nil })
	}
	err = s.run(ctx)
	stop()
	_ = watching.Wait()
	if err != nil {
		return fmt.Errorf("%w\nthe server's log ends with:\n%s", err, tail(s.server.process.Output()))
	}
	return s.server.terminate()
}

// tail returns the last lines of a log.
func tail(log string) string {
	const most = 4000
	return log[max(0, len(log)-most):]
}

func (s *soak) client() (wire.Client, error) {
	return wire.NewClient(s.server.address, nil, func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", s.server.address)
	})
}

// run runs all cycles: those with restarts first, so that one process lives through the second
// half.
func (s *soak) run(ctx context.Context) error {
	half := s.Cycles / 2
	for n := range half {
		if err := s.cycle(ctx, n, restarts[n%len(restarts)]); err != nil {
			return err
		}
	}
	// The first cycle of the last process brings it to its usual size.
	if err := s.cycle(ctx, half, calm); err != nil {
		return err
	}
	began, err := s.server.measure(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.Log, "the last server began with %v\n", began)
	for n := half + 1; n < s.Cycles; n++ {
		if err := s.cycle(ctx, n, others[n%len(others)]); err != nil {
			return err
		}
	}
	return s.end(ctx, began)
}

// Growth is the usual Options.Growth: what the garbage collector may have left.
const Growth = 16 << 20

// How much more than at its beginning a server may use at its end.
const (
	moreGoroutines = 20
	moreFiles      = 10
	// ending bounds how long the server may take to free its memory.
	ending = 2 * time.Minute
)

// end waits until the server uses what it used when it began.
func (s *soak) end(ctx context.Context, began use) error {
	ctx, cancel := context.WithTimeout(ctx, ending)
	defer cancel()
	for {
		ended, err := s.server.measure(ctx)
		if err != nil {
			return err
		}
		if ended.resident <= began.resident+s.Growth && ended.goroutines <= began.goroutines+moreGoroutines && ended.files <= began.files+moreFiles {
			fmt.Fprintf(s.Log, "the last server ended with %v\n", ended)
			return nil
		}
		if !attack.Pause(ctx, time.Second) {
			return fmt.Errorf("the server began with %v and ended with %v", began, ended)
		}
	}
}

// incident is something that happens to a server.
type incident struct {
	name string
	// stranger is the attack that goes on meanwhile.
	stranger string
	happen   func(ctx context.Context, s *soak, cluster string) error
	// calm is set if no write may fail.
	calm bool
}

var (
	calm = incident{name: "nothing", stranger: "window-watches-connections", calm: true,
		happen: func(context.Context, *soak, string) error { return nil }}
	// restarts are the incidents with another server process after them.
	restarts = []incident{
		{name: "kill -9", stranger: "window-watches-connections", happen: func(ctx context.Context, s *soak, _ string) error {
			s.server.kill()
			return s.server.start(ctx)
		}},
		{name: "disk full, kill -9", stranger: "idle", happen: func(ctx context.Context, s *soak, cluster string) error {
			return s.fullDisk(ctx, cluster, true)
		}},
		{name: "restart", stranger: "tcp-watches", happen: func(ctx context.Context, s *soak, _ string) error {
			return errors.Join(s.server.terminate(), s.server.start(ctx))
		}},
	}
	// others are the incidents that the server lives through.
	others = []incident{
		{name: "disk full", stranger: "tcp-watches", happen: func(ctx context.Context, s *soak, cluster string) error {
			return s.fullDisk(ctx, cluster, false)
		}},
		calm,
	}
)

// attackScale divides the size of the attacks of a soak.
const attackScale = 20

// cycle lets an incident happen during churn. Then everything must be as the ledger has it.
func (s *soak) cycle(ctx context.Context, n int, i incident) error {
	began := time.Now()
	acknowledged, refused := s.writers.acknowledged.Load(), s.writers.refused.Load()
	half := s.Lasting / time.Duration(2*s.Cycles)
	churnCtx, stop := context.WithCancel(ctx)
	churned := make(chan error, 1)
	go func() { churned <- s.writers.churn(churnCtx) }()
	extra := fmt.Sprintf("extra-%d", n)
	err := s.attacked(ctx, i.stranger, func() error {
		attack.Pause(ctx, half)
		err := i.happen(ctx, s, extra)
		attack.Pause(ctx, half)
		return err
	})
	stop()
	if failed := <-churned; i.calm {
		err = errors.Join(err, failed)
	}
	if err = errors.Join(err, ctx.Err()); err == nil {
		err = s.check(ctx, extra)
	}
	if err != nil {
		return fmt.Errorf("cycle %d, %s: %w", n+1, i.name, err)
	}
	u, err := s.server.measure(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.Log, "cycle %d, %.0f s: %s, beside the attack %s; %d writes acknowledged, %d not; nothing lost; %v\n", n+1, time.Since(began).Seconds(),
		i.name, i.stranger, s.writers.acknowledged.Load()-acknowledged, s.writers.refused.Load()-refused, u)
	return nil
}

// attacked runs do during an attack.
func (s *soak) attacked(ctx context.Context, name string, do func() error) error {
	attacker, err := s.arena.Begin(ctx, name, s.server.address, attackScale)
	if err != nil {
		return fmt.Errorf("the attacker: %w", err)
	}
	return errors.Join(do(), attacker.Stop(unix.SIGTERM))
}

// fullDisk fills the disk, writes affiliates of a cluster until the server refuses, and frees
// the disk. With kill the server is killed and started again meanwhile.
func (s *soak) fullDisk(ctx context.Context, cluster string, kill bool) error {
	if err := s.server.onDisk(ctx, commandFill); err != nil {
		return fmt.Errorf("fill the disk: %w", err)
	}
	if err := s.writers.grow(ctx, cluster); err == nil {
		return errors.New("the server goes on acknowledging writes after the disk is full")
	}
	if err := s.server.awaitReadiness(ctx, http.StatusServiceUnavailable); err != nil {
		return fmt.Errorf("while the disk is full: %w", err)
	}
	if kill {
		s.server.kill()
		if err := s.server.start(ctx); err != nil {
			return fmt.Errorf("start while the disk is full: %w", err)
		}
	}
	if err := s.server.onDisk(ctx, commandFree); err != nil {
		return fmt.Errorf("free the disk: %w", err)
	}
	if err := s.server.awaitReadiness(ctx, http.StatusOK); err != nil {
		return fmt.Errorf("after the disk was freed: %w", err)
	}
	if err := s.awaitWrite(ctx, key{cluster, "afterwards"}); err != nil {
		return fmt.Errorf("after the disk was freed: %w", err)
	}
	return nil
}

// awaitWrite writes an affiliate until the server takes it. After a restart, the client
// connects again first.
func (s *soak) awaitWrite(ctx context.Context, k key) error {
	ctx, cancel := context.WithTimeout(ctx, readiness)
	defer cancel()
	for {
		err := s.writers.write(context.WithoutCancel(ctx), k, false)
		if err == nil || !attack.Pause(ctx, watchAgain) {
			return err
		}
	}
}

// check compares the server with the ledger, and the watchers with the server. It removes the
// extra cluster of a cycle.
func (s *soak) check(ctx context.Context, extra string) error {
	var err error
	for c := range clusters {
		err = errors.Join(err, s.writers.check(ctx, clusterName(c)))
	}
	err = errors.Join(err, s.writers.check(ctx, extra))
	for _, w := range s.watchers {
		err = errors.Join(err, w.await(ctx))
	}
	if err != nil {
		return err
	}
	if err := s.writers.remove(ctx, extra); err != nil {
		return fmt.Errorf("remove the cluster %s: %w", extra, err)
	}
	s.writers.forget(extra)
	return nil
}
