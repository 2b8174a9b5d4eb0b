package statedir

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/cmd/spanctl/internal/trial"
	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/health"
	"github.com/spanmesh/span/reconciler/mesh"
)

// TestReadOnlyDirIsLocked has a disk that becomes read-only, as the kernel makes one that fails.
// What is there is still used, by one process at a time.
func TestReadOnlyDirIsLocked(t *testing.T) {
	path, _ := smallDisk(t)
	first, second := At(path), At(path)
	if err := errors.Join(first.LockWithin(t.Context(), 0), first.Unlock()); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("none", path, "tmpfs", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	if err := first.LockWithin(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if err := second.LockWithin(t.Context(), 0); !errors.Is(err, ErrBusy) {
		t.Errorf("the error of a second lock is %v", err)
	}
	wantUnwritable(t, first.SetDown(true), unix.EROFS)
	if err := errors.Join(first.Unlock(), second.LockWithin(t.Context(), 0), second.Unlock()); err != nil {
		t.Error(err)
	}
}

// wantUnwritable wants the condition of a directory that cannot be written for a reason.
func wantUnwritable(t *testing.T, err error, why unix.Errno) {
	t.Helper()
	var failed *condition.Error
	if !errors.As(err, &failed) || failed.Code != condition.StateUnwritable || !errors.Is(err, why) {
		t.Errorf("the error is %v", err)
	}
}

func TestUnwritableDirIsACondition(t *testing.T) {
	path, fill := smallDisk(t)
	dir := At(path)
	if err := dir.Lock(); err != nil {
		t.Fatal(err)
	}
	fill(0)
	wantUnwritable(t, dir.BeginTrial(trial.Record{}), unix.ENOSPC)
	if err := dir.Unlock(); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("none", path, "tmpfs", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	_, err := dir.Keep(time.Unix(0, 0), "apply", "machine.cue", nil, true)
	wantUnwritable(t, err, unix.EROFS)
	for _, why := range []unix.Errno{unix.EROFS, unix.ENOSPC, unix.EDQUOT, unix.EIO, unix.EACCES} {
		if c := health.Unwritable("/var/lib/spanctl", why); c.Remedy == "" {
			t.Errorf("%v has no remedy", why)
		}
	}
}

func TestDamagedIdentityIsACondition(t *testing.T) {
	dir := At(t.TempDir())
	id, err := dir.Identify("cluster", mesh.Host{})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir.path, kubespanFile)
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, cut := range []int{0, len(whole) / 2} {
		if err := os.WriteFile(file, whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := dir.Identify("cluster", mesh.Host{})
		var failed *condition.Error
		if !errors.As(err, &failed) || failed.Code != condition.IdentityDamaged || failed.Subject != file ||
			strings.Contains(err.Error(), id.PrivateKey.Reveal()) {
			t.Errorf("with %d bytes the error is %v", cut, err)
		}
	}
}
