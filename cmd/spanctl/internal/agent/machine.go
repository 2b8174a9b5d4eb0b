package agent

import (
	"context"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/spanmesh/span/cmd/spanctl/internal/linklock"
	"github.com/spanmesh/span/cmd/spanctl/internal/statedir"
	"github.com/spanmesh/span/cmd/spanctl/internal/tunnels"
	"github.com/spanmesh/span/cmd/spanctl/internal/version"
	"github.com/spanmesh/span/netlinkapply"
	"github.com/spanmesh/span/netlinkapply/userspace"
	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/resource"
)

// WireguardCommand is the name of the hidden command that runs WireGuard for a
// link in userspace: it is followed by the link's name and a log file.
const WireguardCommand = userspace.Command

// Machine has the paths of the agent's files and the settings of its kernel.
type Machine struct {
	// StateDir is the path of the state directory.
	StateDir string
	// Socket is the path of the agent's API, in the directory of mtu.env.
	Socket    string
	Wireguard netlinkapply.Mode
	Log       *slog.Logger
}

// deps are the dependencies of a pass.
type deps struct {
	dir    *statedir.Dir
	kernel *netlinkapply.Kernel
	store  *resource.Store
	engine *reconciler.Engine
	locks  *linklock.Locks
	// tunnels is the process that reaches relays over TCP, and adopted are its tunnels when this one began,
	// by relay.
	tunnels *tunnels.Process
	adopted map[mesh.Key]netip.AddrPort
	// hosts is the block of names in /etc/hosts.
	hosts *nameHosts
	// pings has an element for each call of Ping under way.
	pings chan struct{}
	log   *slog.Logger
}

// open opens the kernel. The caller has the lock of dir.
func (m Machine) open(dir *statedir.Dir) (*deps, error) {
	kernel, err := netlinkapply.Open(m.Wireguard, func(ctx context.Context, link string) error {
		executable, err := os.Executable()
		if err != nil {
			return err
		}
		return userspace.Start(ctx, []string{executable, WireguardCommand, link, dir.WireguardLog(link)})
	})
	if err != nil {
		return nil, err
	}
	stateDir, err := filepath.Abs(m.StateDir)
	if err != nil {
		kernel.Close()
		return nil, err
	}
	kernel.Owner = stateDir
	store := &resource.Store{}
	engine := reconciler.NewEngine(kernel, dir.Identify, store, m.Log)
	engine.Version = version.Version
	lastGood, err := dir.LastGood()
	if err != nil {
		m.Log.Warn("endpoint cache unreadable", "error", err)
	}
	engine.RestoreLastGood(lastGood)
	locks := linklock.New(m.StateDir, m.Log)
	engine.Claim = locks.Hold
	engine.LinkMTU = func(mtu int) {
		if err := publishMTU(filepath.Dir(m.Socket), mtu); err != nil {
			m.Log.Error("MTU not written for network plugins", "error", err)
		}
	}
	process, err := m.newTunnelProcess(dir)
	if err != nil {
		kernel.Close()
		return nil, err
	}
	d := &deps{dir: dir, kernel: kernel, store: store, log: m.Log, engine: engine, locks: locks, tunnels: process, hosts: newNameHosts(stateDir), pings: make(chan struct{}, maxPings)}
	engine.Former = d.former
	d.adoptTunnels(context.Background()) // which waits a few seconds at most
	return d, nil
}

func (d *deps) close() {
	d.kernel.Close()
	d.locks.Close()
}
