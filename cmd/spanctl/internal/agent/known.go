package agent

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"time"

	"github.com/spanmesh/span/cmd/spanctl/internal/statedir"
	"github.com/spanmesh/span/reconciler/health"
	"github.com/spanmesh/span/schema"
)

// lookInterval is how often modes of files and the disk are looked at. The kernel does not report
// their changes.
const lookInterval = 5 * time.Second

// changedNow says that what is known of the config may have changed. It does not block.
func (m *configManager) changedNow() {
	select {
	case m.news <- struct{}{}:
	default:
	}
}

// keepKnown calls report with the state of the agent's files whenever that may have changed, until ctx
// ends.
func (m *configManager) keepKnown(ctx context.Context, socket string, report func(health.Known)) {
	look := time.NewTicker(lookInterval)
	defer look.Stop()
	var known health.Known
	var secrets []health.File
	for news := true; ; {
		before := known
		if news {
			if config, files, err := m.judge(ctx); err == nil {
				known.Config, secrets = &config, files
			}
		}
		known.Files = privateFiles(secrets, m.dir, socket, m.file.Path())
		known.Disk = m.dir.Writable()
		if news || known.Disk != before.Disk || !slices.Equal(known.Files, before.Files) {
			report(known)
		}
		select {
		case <-ctx.Done():
			return
		case <-m.news:
			news = true
		case <-look.C:
			news = false
		}
	}
}

// PrivateFiles returns the files that others must not read or change, with their modes, by the
// config that was read from a file; nil stands for one that is not valid.
func PrivateFiles(path string, config *schema.Config, stateDir, socket string) []health.File {
	return privateFiles(secretFiles(path, config), statedir.At(stateDir), socket, path)
}

func privateFiles(secrets []health.File, dir *statedir.Dir, socket, config string) []health.File {
	return statedir.Modes(slices.Concat(secrets, dir.Private(),
		[]health.File{{Path: filepath.Dir(socket), Use: health.Directory}, {Path: filepath.Dir(config), Use: health.Directory}}))
}

// errUnhandled says that the config in the file is new: what comes of it is known soon.
var errUnhandled = errors.New("the config file has just changed")

// judge returns how the config in the file is, with the files that have its secrets.
func (m *configManager) judge(ctx context.Context) (c health.Config, secrets []health.File, err error) {
	err = m.withFile(ctx, func() error {
		f := storedFile{invalid: m.evaluated.err}
		f.name, f.data, f.readErr = m.file.Read()
		if f.readErr == nil {
			switch content := contentOf(f.name, f.data); {
			case content != m.evaluated.content:
				return errFileChanged
			case content != m.handled && content != m.seen && content != m.staged:
				return errUnhandled
			}
		}
		c, secrets = m.describe(f), secretFiles(f.name, m.evaluated.config)
		return m.addHistory(&c)
	})
	return c, secrets, err
}

// addHistory adds what the disk has of the config in force. The caller holds mu.
func (m *configManager) addHistory(c *health.Config) error {
	s, err := m.state()
	if err != nil {
		return err
	}
	now := m.moment()
	if s.OnTrial(now) {
		c.Trial = &health.Trial{Ends: time.Now().Add(s.Trial.LeftAt(now)), Alone: s.Confirmed == 0}
	}
	if revision, _, err := m.dir.InForce(); err == nil {
		c.Since = revision.Time
	}
	return nil
}

// secretFiles returns the files that have the secrets of a config that was read from the file with
// a name; nil stands for one that is not valid, which may have any.
func secretFiles(name string, config *schema.Config) []health.File {
	file := health.File{Path: name, Use: health.SecretFile}
	if config == nil {
		return []health.File{file}
	}
	var files []health.File
	for _, secret := range config.Secrets() {
		switch from := secret.From(); {
		case from.File != "":
			files = append(files, health.File{Path: from.File, Use: health.SecretFile})
		case from == (schema.SecretSource{}) && secret.Reveal() != "" && !slices.Contains(files, file):
			files = append(files, file)
		}
	}
	return files
}
