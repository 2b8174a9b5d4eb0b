package agent

import (
	"context"
	"crypto/sha256"
	"errors"
	"io/fs"
	"log/slog"
	"sync"
	"time"

	"github.com/spanmesh/span/cmd/spanctl/internal/configfile"
	"github.com/spanmesh/span/cmd/spanctl/internal/statedir"
	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/schema"
	"github.com/spanmesh/span/schema/load"
)

// keeper decides which config is in force: the one in the file if it is valid,
// else the last that was. A config that is staged in the file waits for the
// agent's next start. One on trial goes away again unless it is confirmed.
type keeper struct {
	file configfile.File
	dir  *statedir.Dir
	loop *reconciler.Loop
	log  *slog.Logger

	// mu is held for a whole change of config, so that two do not cross.
	mu sync.Mutex
	// seen is the content that was last dealt with, staged the one to pass over.
	seen, staged content
	// trials tells that a trial began or ended.
	trials chan struct{}

	faultMu sync.Mutex
	fault   error
}

// content tells the contents of a config file apart.
type content [sha256.Size]byte

func contentOf(name string, data []byte) content {
	return sha256.Sum256(append([]byte(name+"\x00"), data...))
}

// start puts the config in the file in force, or the last good one.
func (k *keeper) start(ctx context.Context) {
	k.overdue()
	_, err := k.reload(ctx, "start")
	if err == nil || k.inForce(err) {
		return
	}
	last, data, readErr := k.dir.Read(0)
	if errors.Is(readErr, statedir.ErrNoRevision) {
		return
	}
	if readErr != nil {
		k.log.Error("the last good config cannot be read", "error", readErr)
		return
	}
	config, err := loadConfig(last.Path, data)
	if err != nil {
		k.log.Error("the last good config cannot be used", "error", err)
		return
	}
	k.log.Warn("starting with the last good config instead", "file", last.Path)
	// The loop logs the error of a pass, and tries again.
	_, _ = k.loop.SetConfig(ctx, config)
}

// inForce tells whether an error of reload is one of the pass, not of the config.
func (k *keeper) inForce(err error) bool {
	return k.why() == nil && !errors.Is(err, reconciler.ErrStopped)
}

// changed looks at the file after it may have changed.
func (k *keeper) changed(ctx context.Context) {
	k.mu.Lock()
	defer k.mu.Unlock()
	name, data, err := k.file.Read()
	if err != nil {
		k.seen = content{} // whatever comes back is looked at anew
		k.blame(err)
		return
	}
	switch contentOf(name, data) {
	case k.seen:
	case k.staged:
		k.log.Info("the config file holds a config for the next start; `spanctl reload` puts it in force now", "file", name)
		k.seen = k.staged
	default:
		k.log.Info("the config file changed", "file", name)
		_, _ = k.enforce(ctx, "file", name, data) // enforce and the loop log their errors
	}
}

// reload puts the config in the file in force, staged or not.
func (k *keeper) reload(ctx context.Context, how string) (*reconciler.Pass, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	name, data, err := k.file.Read()
	if err != nil {
		k.blame(err)
		return nil, err
	}
	return k.enforce(ctx, how, name, data)
}

// apply stores a config, valid ones only, and puts it in force.
func (k *keeper) apply(ctx context.Context, name string, data []byte) (pass *reconciler.Pass, path string, err error) {
	if _, err := loadConfig(name, data); err != nil {
		return nil, "", err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := noTrial(k.dir); err != nil {
		return nil, "", err
	}
	return k.store(ctx, "apply", name, data)
}

// store makes a config the one in the file and puts it in force. k.mu is held.
func (k *keeper) store(ctx context.Context, how, name string, data []byte) (pass *reconciler.Pass, path string, err error) {
	if path, err = k.file.Store(name, data); err != nil {
		return nil, path, err
	}
	pass, err = k.enforce(ctx, how, path, data)
	return pass, path, err
}

// stage stores a valid config for the next start. Its secrets are read then.
func (k *keeper) stage(name string, data []byte) (path string, err error) {
	if _, err := load.Config(name, data); err != nil {
		return "", err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := noTrial(k.dir); err != nil {
		return "", err
	}
	before := k.staged
	// Both before the file is there: whoever reads it next must know.
	k.staged = contentOf(k.file.PathFor(name), data)
	if path, err = k.file.Store(name, data); err != nil {
		k.staged = before
	}
	return path, err
}

// enforce puts a config in force, if it is valid, and into the history, with how it
// came. k.mu is held.
func (k *keeper) enforce(ctx context.Context, how, name string, data []byte) (*reconciler.Pass, error) {
	k.seen, k.staged = contentOf(name, data), content{}
	config, err := loadConfig(name, data)
	if err != nil {
		k.blame(err)
		return nil, err
	}
	k.blame(nil)
	if _, err := k.dir.Keep(time.Now(), how, name, data); err != nil {
		k.log.Error("the config could not be put into the history", "error", err)
	}
	return k.loop.SetConfig(ctx, config)
}

// blame notes and logs why the file is not in force; nil that it is.
func (k *keeper) blame(err error) {
	k.faultMu.Lock()
	before := k.fault
	k.fault = err
	k.faultMu.Unlock()
	if err == nil || before != nil && before.Error() == err.Error() {
		return
	}
	var problems schema.Problems
	switch {
	case errors.As(err, &problems):
		for _, p := range problems {
			k.log.Error("the config file is not valid; the config in force stays", "problem", p.Error())
		}
	case errors.Is(err, fs.ErrNotExist):
		k.log.Warn("there is no config file; the config in force, if any, stays", "file", k.file.Path())
	default:
		k.log.Error("the config file cannot be read; the config in force stays", "error", err)
	}
}

// why tells why the file is not in force; nil if it is.
func (k *keeper) why() error {
	k.faultMu.Lock()
	defer k.faultMu.Unlock()
	return k.fault
}

// whyText is why in words, or "".
func (k *keeper) whyText() string {
	if err := k.why(); err != nil {
		return err.Error()
	}
	return ""
}
