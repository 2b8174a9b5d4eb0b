package statedir

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/spanmesh/span/cmd/spanctl/internal/durable"
	"github.com/spanmesh/span/cmd/spanctl/internal/regular"
)

const (
	dirMode  = 0o700
	fileMode = 0o600
)

// The files of the directory.
const (
	lockFile     = "lock"
	nodeFile     = "node-identity.yaml"
	kubespanFile = "kubespan-identity.yaml"
	resetFile    = "reset-identity.yaml"
	// rotateFile has the key pair of a rotation that is under way.
	rotateFile   = "rotate-key.yaml"
	lastGoodFile = "endpoints.json"
	// portMappingsFile has the ports that the router maps.
	portMappingsFile = "port-mappings.json"
	eventsFile       = "events.json"
	trialFile        = "trial.json"
	downFile         = "down"
	relayDir         = "relay"
	// oldCacheFile had the caches of all registries before each had a file of its own.
	// It is removed: the registries are asked again.
	oldCacheFile = "affiliates.json"
)

// Dir is a state directory. Its methods, except History, Read, InForce, IsDown and Trial, need
// the lock.
type Dir struct {
	// Disk writes the files.
	Disk durable.Disk
	// Agent is set in an agent, which has the lock for as long as it runs.
	Agent bool

	path string
	// mu is held while files are read and written.
	mu sync.Mutex

	lockMu sync.Mutex
	// lock is the locked file; nil while holders is 0.
	lock    *os.File
	holders int
}

// At returns the state directory at path, which need not exist, without its lock.
func At(path string) *Dir { return &Dir{path: path} }

// Lock makes the directory if need be and keeps other processes out until Unlock. It does
// not wait: the error is ErrBusy while another process has the lock. Within the process the
// lock is shared; each Lock needs an Unlock.
func (d *Dir) Lock() error { return d.LockWithin(context.Background(), 0) }

// LockWithin is Lock that waits for other commands until ctx ends, and no longer than limit. It
// does not wait for an agent.
func (d *Dir) LockWithin(ctx context.Context, limit time.Duration) error {
	d.lockMu.Lock()
	defer d.lockMu.Unlock()
	if d.holders == 0 {
		lock, err := acquire(ctx, d.path, d.Agent, limit)
		if err != nil {
			return err
		}
		d.lock = lock
		// The machine works with the files there, too.
		_ = os.Remove(filepath.Join(d.path, oldCacheFile))
		_ = os.Remove(filepath.Join(d.path, rotateFile))
	}
	d.holders++
	return nil
}

// Unlock gives the lock back that Lock took.
func (d *Dir) Unlock() error {
	d.lockMu.Lock()
	defer d.lockMu.Unlock()
	if d.holders--; d.holders > 0 {
		return nil
	}
	return release(d.lock)
}

// Close gives the lock back that Open took.
func (d *Dir) Close() error { return d.Unlock() }

// WireguardLog is where the process that runs WireGuard for a link in userspace
// writes what goes wrong.
func (d *Dir) WireguardLog(link string) string {
	return filepath.Join(d.path, "wireguard-"+link+".log")
}

// TunnelsLog is where the process that carries packets to relays over TCP writes what goes wrong.
func (d *Dir) TunnelsLog() string { return filepath.Join(d.path, "tunnels.log") }

// Relay is the directory of the relay that the machine is for others: its key, its table, its log and
// its control socket.
func (d *Dir) Relay() string { return filepath.Join(d.path, relayDir) }

func (d *Dir) write(name string, data []byte) error {
	return d.unwritable(d.Disk.Write(filepath.Join(d.path, name), data))
}

// rename makes a file the one with the name to.
func (d *Dir) rename(name, to string) error {
	return d.unwritable(d.Disk.Rename(filepath.Join(d.path, name), filepath.Join(d.path, to)))
}

func (d *Dir) remove(name string) error {
	return d.unwritable(d.Disk.Remove(filepath.Join(d.path, name)))
}

// maxFile is the size of the largest file that is read, in bytes.
const maxFile = 64 << 20

// read returns nil where there is no such file.
func (d *Dir) read(name string) ([]byte, error) {
	data, err := regular.Read(filepath.Join(d.path, name), maxFile)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return data, err
}
