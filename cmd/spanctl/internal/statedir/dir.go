package statedir

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"
)

const (
	dirMode  = 0o700
	fileMode = 0o600
)

// The files of the directory.
const (
	lockFile       = "lock"
	nodeFile       = "node-identity.yaml"
	kubespanFile   = "kubespan-identity.yaml"
	affiliatesFile = "affiliates.json"
	workedFile     = "endpoints.json"
	// lastGoodFile is followed by the ending of the config's own name.
	lastGoodFile = "last-good"
)

// Dir is an open state directory.
type Dir struct {
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
	path := filepath.Join(d.path, name)
	if err := renameio.WriteFile(path, data, fileMode, renameio.WithStaticPermissions(fileMode)); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// read returns nil where there is no such file.
func (d *Dir) read(name string) ([]byte, error) {
	data, err := os.ReadFile(filepath.Join(d.path, name))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return data, err
}

// KeepLastGood keeps a config that was found valid, and the ending of its name,
// which tells its format.
func (d *Dir) KeepLastGood(name string, data []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	file := lastGoodFile + filepath.Ext(name)
	if err := d.write(file, data); err != nil {
		return err
	}
	others, err := d.lastGood()
	for _, other := range others {
		if filepath.Base(other) != file {
			err = errors.Join(err, os.Remove(other))
		}
	}
	return err
}

// LastGood returns what KeepLastGood kept last. Name is empty if there is nothing.
func (d *Dir) LastGood() (name string, data []byte, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	paths, err := d.lastGood()
	if err != nil || len(paths) == 0 {
		return "", nil, err
	}
	data, err = os.ReadFile(paths[0])
	return paths[0], data, err
}

// lastGood lists the configs kept: one, or two after a crash between the
// writing of one and the removal of the other.
func (d *Dir) lastGood() ([]string, error) {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, e := range entries {
		if strings.TrimSuffix(e.Name(), filepath.Ext(e.Name())) == lastGoodFile {
			paths = append(paths, filepath.Join(d.path, e.Name()))
		}
	}
	return paths, nil
}
