package statedir

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/cmd/spanctl/internal/durable"
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
	lastGoodFile = "endpoints.json"
	trialFile    = "trial.json"
	// oldCacheFile had the caches of all registries before each had a file of its own. It
	// is removed: what it had is asked of the registries again.
	oldCacheFile = "affiliates.json"
)

// Dir is an open state directory.
type Dir struct {
	// Disk is what the directory is on.
	Disk durable.Disk

	path string
	lock *os.File
	// mu is held while files are read and written.
	mu sync.Mutex
}

// ErrBusy says that another process works with the directory.
var ErrBusy = errors.New("another spanctl works with this state directory")

// Open makes the directory if need be and locks it. It must be closed.
func Open(path string) (*Dir, error) {
	if err := os.MkdirAll(path, dirMode); err != nil {
		return nil, fmt.Errorf("make the state directory: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(path, lockFile), os.O_CREATE|os.O_RDWR, fileMode)
	if err != nil {
		return nil, fmt.Errorf("open the state directory: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = ErrBusy
		}
		return nil, errors.Join(fmt.Errorf("lock the state directory %s: %w", path, err), lock.Close())
	}
	// The machine works with the file there, too.
	_ = os.Remove(filepath.Join(path, oldCacheFile))
	return &Dir{path: path, lock: lock}, nil
}

// Close unlocks the directory.
func (d *Dir) Close() error { return d.lock.Close() }

// WireguardLog is where the process that runs WireGuard for a link in userspace
// writes what goes wrong.
func (d *Dir) WireguardLog(link string) string {
	return filepath.Join(d.path, "wireguard-"+link+".log")
}

func (d *Dir) write(name string, data []byte) error {
	return d.Disk.Write(filepath.Join(d.path, name), data)
}

// read returns nil where there is no such file.
func (d *Dir) read(name string) ([]byte, error) {
	data, err := os.ReadFile(filepath.Join(d.path, name))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return data, err
}
