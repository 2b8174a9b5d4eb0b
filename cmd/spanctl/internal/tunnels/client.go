package tunnels

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/cmd/spanctl/internal/version"
	"github.com/spanmesh/span/netlinkapply/detached"
	"github.com/spanmesh/span/reconciler/mesh"
)

// Process is the process of the tunnels of one agent. It is found by its control socket.
type Process struct {
	// dir and name are where its socket is, and program is what starts it.
	dir, name string
	program   []string
	version   string
	// log is told of a process that ended by itself, or was replaced.
	log *slog.Logger
	// silent counts the requests of Keep in a row without an answer.
	silent int
	// runs is set while the process is to run, as far as this agent knows.
	runs bool
}

// patience is how many requests in a row a process may leave without an answer before it is replaced.
// Each waits 5 s.
const patience = 3

// At returns the process of the agent whose API is at a socket, which need not run. Executable is this
// program, and file is the one in which the process writes what goes wrong.
func At(agentSocket, executable, file string, log *slog.Logger) *Process {
	dir := filepath.Dir(agentSocket)
	name := strings.TrimSuffix(filepath.Base(agentSocket), ".sock") + "-tunnels"
	return &Process{dir: dir, name: name, program: []string{executable, Command, dir, name, file}, version: version.Version, log: log}
}

// Find returns the tunnels of the process; none if it does not run.
func (p *Process) Find(ctx context.Context) ([]Status, error) {
	a, err := p.call(ctx, request{})
	if errors.Is(err, detached.ErrNone) {
		return nil, nil
	}
	p.runs = err == nil
	return a.Tunnels, err
}

// Keep opens tunnels and closes all others. It starts the process if need be, and ends it if there is
// to be none. Locals are where relays were reached before: a new process takes these ports if it can. It
// is called by one goroutine at a time.
func (p *Process) Keep(ctx context.Context, all []Tunnel, locals map[mesh.Key]netip.AddrPort) ([]Status, error) {
	if len(all) == 0 {
		return nil, p.End(ctx)
	}
	keep := make([]wanted, len(all))
	for i, t := range all {
		keep[i] = wanted{Tunnel: t, Local: locals[t.Relay].Port()}
	}
	asked := request{Keep: &keep, CA: all[0].CA}
	a, err := p.call(ctx, asked)
	replaced := err == nil && a.Version != p.version && a.Idle
	hangs, wait := p.hangs(err)
	if wait {
		return nil, err
	}
	p.noteGone(err)
	if hangs || replaced || hasDied(err) {
		takePorts(keep, a.Tunnels)
		if err := p.End(ctx); err != nil {
			return nil, err
		}
		err = detached.ErrNone
	}
	if errors.Is(err, detached.ErrNone) {
		if err := detached.Start(ctx, p.program); err != nil {
			return nil, fmt.Errorf("start the process of tunnels to relays: %w", err)
		}
		a, err = p.call(ctx, asked)
	}
	p.runs = p.runs || err == nil
	return a.Tunnels, err
}

// hasDied reports whether the process has ended during a request.
func hasDied(err error) bool { return errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EPIPE) }

// noteGone logs why a process that is to run is replaced, once. Err is that of the request to it.
func (p *Process) noteGone(err error) {
	if !p.runs || err == nil {
		return
	}
	if _, hangs := errors.AsType[*detached.UnresponsiveError](err); hangs {
		p.log.Warn("tunnel process unresponsive; restarting", "error", err)
		p.runs = false
	} else if errors.Is(err, detached.ErrNone) || hasDied(err) {
		p.log.Warn("tunnel process exited; restarting")
		p.runs = false
	}
}

// takePorts has tunnels take the ports on loopback of those to the same relays.
func takePorts(keep []wanted, of []Status) {
	for i := range keep {
		if at := localOf(of, keep[i].Relay); at != 0 {
			keep[i].Local = at
		}
	}
}

// hangs reports whether a process does not answer, and whether to wait for it: a machine may be busy.
func (p *Process) hangs(err error) (hangs, wait bool) {
	if _, hangs = errors.AsType[*detached.UnresponsiveError](err); !hangs {
		p.silent = 0
		return false, false
	}
	if p.silent++; p.silent < patience {
		return true, true
	}
	p.silent = 0
	return true, false
}

// localOf returns the port on loopback of the tunnel to a relay; 0 for none.
func localOf(all []Status, relay mesh.Key) uint16 {
	for _, s := range all {
		if s.Relay == relay {
			return s.Endpoint.Port()
		}
	}
	return 0
}

// End ends the process, if it runs.
func (p *Process) End(ctx context.Context) error {
	p.runs = false
	if err := detached.End(ctx, p.dir, p.name); err != nil {
		return fmt.Errorf("end the process of tunnels to relays: %w", err)
	}
	return nil
}

func (p *Process) call(ctx context.Context, r request) (a answer, err error) {
	text, err := json.Marshal(r)
	if err != nil {
		return answer{}, err
	}
	reply, err := detached.Call(ctx, p.dir, p.name, text)
	if err != nil {
		return answer{}, err
	}
	if err := json.Unmarshal(reply, &a); err != nil {
		return answer{}, fmt.Errorf("read the answer of the process of tunnels to relays: %w", err)
	}
	if a.Error != "" {
		return a, fmt.Errorf("the process of tunnels to relays refuses what it is asked for: %s", a.Error)
	}
	return a, nil
}

// ProxyOf returns the URL of the proxy that the environment has for a URL; empty for none.
func ProxyOf(target string) (string, error) {
	u, err := url.Parse(target)
	if err != nil {
		return "", err
	}
	proxy, err := http.ProxyFromEnvironment(&http.Request{URL: u})
	if err != nil || proxy == nil {
		return "", err
	}
	return proxy.String(), nil
}
