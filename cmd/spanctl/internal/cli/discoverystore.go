package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/spanmesh/span/discoveryhttp/store"
	"github.com/spanmesh/span/reconciler/human"
)

// storeOptions are the flags of the commands that work with the file of a discovery server.
type storeOptions struct {
	*globals
	store string
}

// defaultStore is the store of a server without --store.
func (g *globals) defaultStore() string { return boltStore + filepath.Join(g.stateDir, "discovery.db") }

// boltStore begins the name of a store that is a file.
const boltStore = "bolt:"

func (o *storeOptions) flag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.store, "store", "", "the server's store, as it is given to serve: bolt:PATH (default bolt:discovery.db in the state directory)")
}

// path returns the path of the store's file.
func (o *storeOptions) path() (string, error) {
	name := o.store
	if name == "" {
		name = o.defaultStore()
	}
	path, isBolt := strings.CutPrefix(name, boltStore)
	switch {
	case isBolt && path != "":
		return path, nil
	case strings.HasPrefix(name, "etcd:"):
		return "", errors.New("--store is in etcd, which has its own tools: `etcdctl snapshot save`, and `etcdutl snapshot restore`")
	case name == "memory":
		return "", errors.New("--store is memory, which has no file")
	default:
		return "", fmt.Errorf("--store is %q: want bolt:PATH", name)
	}
}

// missing adds to the error of a file that is not there how it is named, if it is the usual store.
func (o *storeOptions) missing(err error, isStore bool) error {
	if isStore && o.store == "" && errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: a server's store that is elsewhere is named with --store bolt:PATH", err)
	}
	return err
}

func newDiscoveryCheck(g *globals) *cobra.Command {
	o := &storeOptions{globals: g}
	cmd := &cobra.Command{
		Use:   "check [FILE]",
		Short: "Check the file of a discovery server, or a copy of it",
		Long: `Read all of the file of a discovery server with a bolt store, or of a copy that
` + "`spanctl discovery backup`" + ` wrote, and print what it holds. The server may run. The exit status
is 1 if the file is damaged.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return o.check(cmd.Context(), streamsOf(cmd), args) },
	}
	o.flag(cmd)
	return cmd
}

func (o *storeOptions) check(ctx context.Context, s streams, args []string) error {
	path, err := o.path()
	switch {
	case len(args) > 0 && o.store != "":
		return errors.New("FILE and --store both name a file: want one of them")
	case len(args) > 0:
		path = args[0]
	case err != nil:
		return err
	}
	stats, err := store.CheckBolt(ctx, path)
	if err != nil {
		return o.missing(err, len(args) == 0)
	}
	return s.say(path + ": " + holdings(stats))
}

// copyError returns the error of a copy that cannot be restored. It leaves out how a server whose own
// file is damaged gets out of that.
func copyError(err error) error {
	if damage, ok := errors.AsType[*store.DamageError](err); ok {
		return fmt.Errorf("%s is damaged, or is no copy of a store: %w", damage.Path, damage.Err)
	}
	return err
}

// holdings returns what a store has.
func holdings(stats store.Stats) string {
	return fmt.Sprintf("%s of %s", human.Count(stats.Affiliates, "affiliate"), human.Count(stats.Clusters, "cluster"))
}

func newDiscoveryBackup(g *globals) *cobra.Command {
	o := &storeOptions{globals: g}
	cmd := &cobra.Command{
		Use:   "backup FILE",
		Short: "Write a copy of what a discovery server has stored",
		Long: `Write a copy of the file of a discovery server with a bolt store. The copy is of one
moment, and is checked. The server may run. FILE is replaced. It has the IDs of clusters, which are
secrets: its mode is 0600.`,
		Example: "  spanctl discovery backup /var/backups/discovery.db",
		Args:    cobra.ExactArgs(1),
		RunE:    func(cmd *cobra.Command, args []string) error { return o.backup(cmd.Context(), streamsOf(cmd), args[0]) },
	}
	o.flag(cmd)
	return cmd
}

func (o *storeOptions) backup(ctx context.Context, s streams, to string) error {
	path, err := o.otherPath(to)
	if err != nil {
		return err
	}
	if err := store.BackupBolt(ctx, path, to); err != nil {
		_, missing := os.Stat(path)
		return o.missing(err, missing != nil)
	}
	stats, err := store.CheckBolt(ctx, to)
	if err != nil {
		return err
	}
	return s.say("wrote " + to + ": " + holdings(stats))
}

// otherPath returns the path of the store's file, which must not be the file at another path.
func (o *storeOptions) otherPath(other string) (string, error) {
	path, err := o.path()
	if err != nil {
		return "", err
	}
	one, oneErr := os.Stat(path)
	two, twoErr := os.Stat(other)
	if oneErr == nil && twoErr == nil && os.SameFile(one, two) {
		return "", fmt.Errorf("%s is the store's own file: want a copy", other)
	}
	return path, nil
}

func newDiscoveryRestore(g *globals) *cobra.Command {
	o := &storeOptions{globals: g}
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Give a discovery server a copy of what it had stored",
		Long: `Put a copy that ` + "`spanctl discovery backup`" + ` wrote in the place of the file of a discovery server
with a bolt store. The copy is checked first. The server must not run. The file that was there
is moved aside. Nothing has expired meanwhile: machines have their whole time to come back.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.restore(cmd.Context(), streamsOf(cmd), args[0])
		},
	}
	o.flag(cmd)
	return cmd
}

func (o *storeOptions) restore(ctx context.Context, s streams, from string) error {
	path, err := o.otherPath(from)
	if err != nil {
		return err
	}
	aside, err := store.RestoreBolt(ctx, from, path)
	if aside != "" {
		s.note("the file before is at", aside)
	}
	if err != nil {
		return copyError(err)
	}
	if err := giveToOwner(path); err != nil {
		return err
	}
	stats, err := store.CheckBolt(ctx, path)
	if err != nil {
		return err
	}
	return s.say("restored " + path + ": " + holdings(stats))
}

// giveToOwner gives a file to the owner of its directory: root may restore what another user's
// server has to open.
func giveToOwner(path string) error {
	info, err := os.Stat(filepath.Dir(path))
	if err != nil {
		return err
	}
	owner, known := info.Sys().(*syscall.Stat_t)
	if !known || os.Geteuid() != 0 {
		return nil
	}
	return os.Chown(path, int(owner.Uid), int(owner.Gid))
}
