package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/cmd/spanctl/internal/configfile"
	"github.com/spanmesh/span/cmd/spanctl/internal/linklock"
	"github.com/spanmesh/span/cmd/spanctl/internal/statedir"
	"github.com/spanmesh/span/cmd/spanctl/internal/trial"
)

// Local answers the API in this process, where no agent runs. Its methods may be called
// concurrently.
type Local struct {
	service  *service
	server   *http.Server
	listener *pairs
	serving  sync.Once
	served   sync.WaitGroup

	// began is set once a call began a trial, ended receives how that ended.
	began atomic.Bool
	ended chan trialEnd
	// stop is closed to end the trial.
	stop    chan struct{}
	stopped sync.Once
}

// NewLocal prepares to answer the API for a machine whose config is stored at path.
func NewLocal(m Machine, path string) *Local {
	dir, file := statedir.At(m.StateDir), configfile.At(path)
	runner := &oneShot{machine: m, dir: dir, file: file}
	l := &Local{listener: newPairs(), ended: make(chan trialEnd, 1), stop: make(chan struct{})}
	configs := &configManager{eval: &evaluator{}, file: file, dir: dir, runner: runner, log: m.Log}
	configs.trialBegan = func(record trial.Record) {
		l.began.Store(true)
		l.served.Go(func() { l.ended <- configs.follow(context.Background(), record, l.stop) })
	}
	l.service = &service{runner: runner, links: runner, configs: configs, health: runner, log: m.Log, checkOwner: func(ctx context.Context) error {
		return checkOwner(ctx, configs, m.StateDir)
	}}
	l.server = newServer(context.Background(), l.service)
	return l
}

// checkOwner refuses to replace the config of a mesh that another spanctl runs, with a state
// directory of its own: without an agent, the path of the config is that of the environment, which
// need not be the one for this mesh.
func checkOwner(ctx context.Context, configs *configManager, stateDir string) error {
	name, data, err := configs.file.Read()
	if err != nil {
		return nil // there is nothing to replace, or it is refused anyhow
	}
	config, err := configs.eval.loadUnread(ctx, name, data)
	if err != nil {
		return nil
	}
	if err := linklock.Other(config.KubeSpan().InterfaceName, stateDir); err != nil {
		return fmt.Errorf("%s is the config of another mesh, and is left: name another file by $SPANCTL_CONFIG: %w", name, err)
	}
	return nil
}

// Dial returns a connection on which the API is answered.
func (l *Local) Dial() (net.Conn, error) {
	l.serving.Do(func() {
		l.served.Go(func() { _ = l.server.Serve(l.listener) }) // it ends with Close
	})
	return l.listener.dial()
}

// Close waits for the calls to end. A trial goes on: AwaitTrial ends it.
func (l *Local) Close(ctx context.Context) error { return l.server.Shutdown(ctx) }

// TrialEnd is how a trial ended.
type TrialEnd struct {
	// Confirmed reports whether the config stays.
	Confirmed bool
	// Plan put the config before in force again; nil if another process did that.
	Plan *agentpb.Plan
}

// AwaitTrial waits until the trial is over that a call began, and returns nil if none did.
// When ctx ends it ends the trial at once: the config before comes back.
func (l *Local) AwaitTrial(ctx context.Context) (*TrialEnd, error) {
	if !l.began.Load() {
		return nil, nil
	}
	stop := context.AfterFunc(ctx, func() { l.stopped.Do(func() { close(l.stop) }) })
	defer stop()
	end := <-l.ended
	plan, err := planDone(end.pass, end.err, nextByHand)
	return &TrialEnd{Confirmed: end.confirmed, Plan: plan}, err
}

// pairs is a listener whose connections are made by dial.
type pairs struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPairs() *pairs { return &pairs{conns: make(chan net.Conn), closed: make(chan struct{})} }

// dial makes a pair of connected unix sockets, one for the caller and one for Accept.
func (l *pairs) dial() (net.Conn, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make a pair of sockets: %w", err)
	}
	var ends [2]net.Conn
	for i, fd := range pair {
		file := os.NewFile(uintptr(fd), "socketpair")
		ends[i], err = net.FileConn(file)
		if err = errors.Join(err, file.Close()); err != nil {
			return nil, err
		}
	}
	select {
	case l.conns <- ends[1]:
		return ends[0], nil
	case <-l.closed:
		return nil, errors.Join(net.ErrClosed, ends[0].Close(), ends[1].Close())
	}
}

func (l *pairs) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pairs) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pairs) Addr() net.Addr { return &net.UnixAddr{Name: "spanctl", Net: "unix"} }
