package statedir

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"
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
	if err := errors.Join(first.Unlock(), second.LockWithin(t.Context(), 0), second.Unlock()); err != nil {
		t.Error(err)
	}
}
