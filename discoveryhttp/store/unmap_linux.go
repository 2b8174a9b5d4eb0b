package store

import (
	"os"

	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// unmapPages makes the pages of the file that were read no part of the process's resident
// memory; the kernel still caches them. No other write may be under way.
func unmapPages(db *bbolt.DB) {
	info, err := os.Stat(db.Path())
	if err != nil || info.Size() == 0 {
		return
	}
	// The mapping is at least as large as the file. A failure costs memory alone.
	_, _, _ = unix.Syscall(unix.SYS_MADVISE, db.Info().Data, uintptr(info.Size()), unix.MADV_DONTNEED)
}
