package agent

import (
	"context"
	"errors"
	"log/slog"
	"os"

	"github.com/spanmesh/span/cmd/spanctl/internal/statedir"
	"github.com/spanmesh/span/netlinkapply"
	"github.com/spanmesh/span/netlinkapply/userspace"
	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/resource"
)

// WireguardCommand is the name of the hidden command that runs WireGuard for a
// link in userspace: it is followed by the link's name and a log file.
const WireguardCommand = "wireguard-process"

// Machine says where the pieces of a machine are.
type Machine struct {
	StateDir  string
	Wireguard netlinkapply.Mode
	Log       *slog.Logger
}

// parts are the opened pieces of a machine.
type parts struct {
	dir    *statedir.Dir
	kernel *netlinkapply.Kernel
	store  *resource.Store
	engine *reconciler.Engine
	log    *slog.Logger
}

func (m Machine) open() (*parts, error) {
	dir, err := statedir.Open(m.StateDir)
	if err != nil {
		return nil, err
	}
	kernel, err := netlinkapply.Open(m.Wireguard, func(ctx context.Context, link string) error {
		executable, err := os.Executable()
		if err != nil {
			return err
		}
		return userspace.Start(ctx, []string{executable, WireguardCommand, link, dir.WireguardLog(link)})
	})
	if err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	store := &resource.Store{}
	engine := reconciler.NewEngine(kernel, dir.Identify, store, m.Log)
	lastGood, err := dir.LastGood()
	if err != nil {
		m.Log.Warn("where peers were last reached cannot be read; beginning anew", "error", err)
	}
	engine.RestoreLastGood(lastGood)
	return &parts{dir: dir, kernel: kernel, store: store, log: m.Log, engine: engine}, nil
}

func (p *parts) close() error {
	p.kernel.Close()
	return p.dir.Close()
}
