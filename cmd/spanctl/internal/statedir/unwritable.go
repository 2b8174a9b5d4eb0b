package statedir

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/health"
)

// unwritable gives an error of a disk that cannot be written its condition.
func (d *Dir) unwritable(err error) error {
	for _, one := range []unix.Errno{unix.EROFS, unix.ENOSPC, unix.EDQUOT, unix.EIO, unix.EACCES, unix.EPERM} {
		if errors.Is(err, one) {
			return &condition.Error{Condition: health.Unwritable(d.path, one), Err: err}
		}
	}
	return err
}

// enough is the space that the small files of the directory need, in bytes.
const enough = 16 << 10

// Writable returns whether the directory can be written. It writes nothing.
func (d *Dir) Writable() health.Disk {
	disk := health.Disk{Path: d.path}
	var stat unix.Statfs_t
	err := unix.Access(d.path, unix.W_OK)
	if err == nil {
		err = unix.Statfs(d.path, &stat)
	}
	if err != nil {
		errors.As(err, &disk.Refusal)
		return disk
	}
	free := stat.Bavail
	if unix.Geteuid() == 0 {
		free = stat.Bfree // root has what is reserved
	}
	switch {
	case stat.Flags&unix.ST_RDONLY != 0:
		disk.Refusal = unix.EROFS
	case free*uint64(stat.Bsize) < enough, stat.Files > 0 && stat.Ffree == 0: // some have no limit of files
		disk.Refusal = unix.ENOSPC
	}
	return disk
}
