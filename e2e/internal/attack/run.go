package attack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/e2e/lab"
)

// Options configure a run.
type Options struct {
	// Binary is the path of spanctl.
	Binary string
	// Hold is how long an attack goes on in full swing.
	Hold time.Duration
	// Scale divides the size of attacks. 1 is the whole size.
	Scale int
	// Settle bounds how long to wait until the server's memory is free again. If it is 0, that
	// is not measured.
	Settle time.Duration
}

// Result is what a run measured.
type Result struct {
	Attack Attack
	// Before, During and After are the server's resident memory, in bytes: before the attack,
	// the most, and when it has settled.
	Before, During, After int64
	// Sockets is how much more memory all sockets of this machine had at most, in bytes. The
	// kernel holds it, beside the server's resident memory.
	Sockets int64
	// Tally is the attacker's.
	Tally Tally
	// Service is the well-behaved client's.
	Service Service
}

const (
	mib = 1 << 20
	// settled is how much more memory a server may keep after an attack, in bytes. The Go
	// runtime returns memory by and by: what it has after the next collection may stay for two
	// minutes.
	settled = 64 * mib
	// slowest bounds the 99th percentile of the well-behaved client. The attacker has one of
	// two cores.
	slowest = 2 * time.Second
	port    = "3000"
)

// Check returns an error if the server did not withstand the attack.
func (r Result) Check() error {
	err := r.CheckMemory()
	if total := r.Service.Updates + r.Service.Hellos + r.Service.Failed; r.Service.Failed*100 > total || r.Service.Updates == 0 {
		err = errors.Join(err, fmt.Errorf("%d of %d calls of a well-behaved client failed: %s", r.Service.Failed, total, strings.Join(r.Service.Failures, "; ")))
	}
	if r.Service.P99 > slowest {
		err = errors.Join(err, fmt.Errorf("updates of a well-behaved client took %v (99th percentile), want at most %v", r.Service.P99, slowest))
	}
	return err
}

// CheckMemory returns an error if the attack cost the server too much memory.
func (r Result) CheckMemory() error {
	var err error
	if grown := r.During - r.Before; grown > int64(r.Attack.Most)*mib {
		err = errors.Join(err, fmt.Errorf("resident memory grew by %d MiB, want at most %d", grown/mib, r.Attack.Most))
	}
	if kept := r.After - r.Before; kept > settled {
		err = errors.Join(err, fmt.Errorf("resident memory is still %d MiB more after the attack, want at most %d", kept/mib, int64(settled)/mib))
	}
	return err
}

// Header is the header of a table of Rows.
const Header = `| attack | what it does | before | during | after | sockets | taken / refused | p50 / p99 ms | connect, ms |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |`

// Row returns the result as a row of a table. Memory is in MiB.
func (r Result) Row() string {
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	return fmt.Sprintf("| `%s` | %s | %d | %d | %d | %d | %d / %d | %.1f / %.1f | %.0f |", r.Attack.Name, r.Attack.What, r.Before/mib, r.During/mib, r.After/mib,
		r.Sockets/mib, r.Tally.Done, r.Tally.Refused, ms(r.Service.P50), ms(r.Service.P99), ms(r.Service.Slowest))
}

// run is one run of an attack.
type run struct {
	options Options
	attack  Attack
	*Arena
	server *lab.Process
	// address is the server's.
	address string
	// certificate is the path of the server's certificate; empty without TLS.
	certificate string
	result      Result
}

// Run runs an attack. The program must have called lab.Main with Commands.
func Run(ctx context.Context, o Options, attack Attack) (result Result, err error) {
	arena, err := NewArena(o.Binary, lab.Underlay)
	if err != nil {
		return Result{}, err
	}
	defer func() { err = errors.Join(err, arena.Close()) }()
	r := &run{options: o, attack: attack, Arena: arena, result: Result{Attack: attack}}
	for _, step := range []func(context.Context) error{r.serve, r.measure} {
		if err := step(ctx); err != nil {
			return r.result, err
		}
	}
	if err := r.server.Stop(unix.SIGTERM); err != nil {
		return r.result, fmt.Errorf("stop the server: %w:\n%s", err, tail(r.server.Output()))
	}
	return r.result, nil
}

// tail returns the last lines of a log.
func tail(log string) string {
	const most = 4000
	return log[max(0, len(log)-most):]
}

// serve starts the server.
func (r *run) serve(ctx context.Context) (err error) {
	args := append([]string{"discovery", "serve", "--listen", ":" + port, "--store", "memory"}, r.attack.Flags...)
	if r.attack.TLS {
		var key string
		if r.certificate, key, err = certificate(r.Discovery.Dir); err != nil {
			return err
		}
		args = append(args, "--tls-cert", r.certificate, "--tls-key", key)
	} else {
		args = append(args, "--insecure")
	}
	r.address = net.JoinHostPort(r.Discovery.Address.String(), port)
	if r.server, err = lab.Start(r.Discovery.Spanctl(ctx, args...)); err != nil {
		return err
	}
	_, err = r.server.Await(ctx, 0, "serving discovery")
	return err
}

// start starts a command in a node and waits until it is in full swing.
func (r *run) start(ctx context.Context, node *lab.Node, name string, args ...string) (*lab.Process, error) {
	if r.certificate != "" {
		args = append(args, r.certificate)
	}
	return start(ctx, node, name, args...)
}

// finish ends a command and decodes what it counted.
func finish(p *lab.Process, count any) error {
	if err := p.Stop(unix.SIGTERM); err != nil {
		return fmt.Errorf("%w: %s", err, tail(p.Output()))
	}
	if _, counts, _ := strings.Cut(p.Output(), begun); json.Unmarshal([]byte(counts), count) != nil {
		return fmt.Errorf("a command printed %q instead of what it counted", counts)
	}
	return nil
}

// measure attacks the server.
func (r *run) measure(ctx context.Context) error {
	client, err := r.start(ctx, r.Client, commandHonest, r.address)
	if err != nil {
		return fmt.Errorf("the well-behaved client: %w", err)
	}
	if r.result.Before, err = r.resident(); err != nil {
		return err
	}
	watchCtx, stop := context.WithCancel(ctx)
	watched := make(chan error, 1)
	go func() { watched <- r.watchMemory(watchCtx) }()
	err = r.assault(ctx)
	stop()
	if err = errors.Join(err, <-watched, finish(client, &r.result.Service)); err != nil {
		return fmt.Errorf("%w; the server printed:\n%s", err, tail(r.server.Output()))
	}
	return r.settle(ctx)
}

// assault attacks for a while, and ends the attack.
func (r *run) assault(ctx context.Context) error {
	attacker, err := r.start(ctx, r.Stranger, commandAttack, r.attack.Name, r.address, strconv.Itoa(r.options.Scale))
	if err != nil {
		return fmt.Errorf("the attacker: %w", err)
	}
	Pause(ctx, r.options.Hold)
	return finish(attacker, &r.result.Tally)
}

// sampleInterval is the time between two readings of the server's memory.
const sampleInterval = 50 * time.Millisecond

// watchMemory keeps the most memory that the server has until ctx ends.
func (r *run) watchMemory(ctx context.Context) error {
	sockets, err := socketMemory()
	for err == nil {
		var now, held int64
		now, err = r.resident()
		r.result.During = max(r.result.During, now)
		if err == nil {
			held, err = socketMemory()
		}
		r.result.Sockets = max(r.result.Sockets, held-sockets)
		if !Pause(ctx, sampleInterval) {
			return err
		}
	}
	return err
}

// settle waits until the memory of the attack is free. Meanwhile the server's metrics are
// read, because the Go runtime frees memory of a server that is used sooner.
func (r *run) settle(ctx context.Context) error {
	if r.options.Settle == 0 {
		return nil
	}
	using, err := r.start(ctx, r.Client, commandUse, r.address)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, r.options.Settle)
	defer cancel()
	for {
		r.result.After, err = r.resident()
		if err != nil || r.result.After <= r.result.Before+settled {
			return errors.Join(err, using.Stop(unix.SIGTERM))
		}
		if !Pause(ctx, sampleInterval) {
			return using.Stop(unix.SIGTERM)
		}
	}
}

// resident returns the server's resident memory in bytes.
func (r *run) resident() (int64, error) { return Resident(r.server.PID()) }

// Resident returns the resident memory of a process in bytes.
func Resident(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, err
	}
	pages, err := field(string(text), 1)
	if err != nil || pages == 0 {
		return 0, fmt.Errorf("process %d has ended", pid)
	}
	return pages * int64(os.Getpagesize()), nil
}

// socketMemory returns the memory of all TCP sockets of this machine in bytes, see proc(5).
func socketMemory() (int64, error) {
	text, err := os.ReadFile("/proc/net/sockstat")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "TCP: "); ok {
			_, pages, _ := strings.Cut(rest, "mem ")
			n, err := field(pages, 0)
			return n * int64(os.Getpagesize()), err
		}
	}
	return 0, errors.New("/proc/net/sockstat has no line of TCP")
}

// field returns the i-th number in a text.
func field(text string, i int) (int64, error) {
	fields := strings.Fields(text)
	if i >= len(fields) {
		return 0, fmt.Errorf("%q has no field %d", text, i)
	}
	return strconv.ParseInt(fields[i], 10, 64)
}
