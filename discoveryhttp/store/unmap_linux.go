package store

import (
	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// unmapPages makes the pages of the file that were read no part of the process's resident
// memory; the kernel still caches them. No other write may be under way.
func unmapPages(db *bbolt.DB) {
	var size int64
	_ = db.View(func(tx *bbolt.Tx) error {
		size = tx.Size()
		return nil
	})
	// All pages of the last transaction are within the mapping. A failure costs memory alone.
	_, _, _ = unix.Syscall(unix.SYS_MADVISE, db.Info().Data, uintptr(size), unix.MADV_DONTNEED)
}
