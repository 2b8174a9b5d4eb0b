package nodecmd

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// cover mounts a disk in memory of args[1] KiB over the directory args[0], which is made if need
// be.
func cover(args []string) error {
	if err := os.MkdirAll(args[0], 0o700); err != nil {
		return err
	}
	return unix.Mount("none", args[0], "tmpfs", 0, "mode=0755,size="+args[1]+"k")
}

// uncover unmounts what is mounted on args[0].
func uncover(args []string) error { return unix.Unmount(args[0], unix.MNT_DETACH) }

// filler is the file that fill makes.
const filler = "filler"

// fill leaves no room in the directory args[0], or makes room again where args[1] is false.
func fill(args []string) error {
	path := filepath.Join(args[0], filler)
	full, err := strconv.ParseBool(args[1])
	if err != nil || !full {
		return errors.Join(err, os.Remove(path))
	}
	file, err := os.Create(path)
	for page := make([]byte, 4096); err == nil; {
		_, err = file.Write(page)
	}
	if errors.Is(err, unix.ENOSPC) {
		err = nil
	}
	return errors.Join(err, file.Close())
}

// setWritable makes the disk on args[0] writable, or read-only where args[1] is false.
func setWritable(args []string) error {
	writable, err := strconv.ParseBool(args[1])
	if err != nil {
		return err
	}
	flags := uintptr(unix.MS_REMOUNT)
	if !writable {
		flags |= unix.MS_RDONLY
	}
	return unix.Mount("none", args[0], "tmpfs", flags, "")
}

// readOnly makes the directory args[0] read-only until uncover, also while files in it are open for
// writing. It fails where the directory is read-only already.
func readOnly(args []string) error {
	var disk unix.Statfs_t
	if err := unix.Statfs(args[0], &disk); err != nil {
		return err
	}
	if disk.Flags&unix.ST_RDONLY != 0 {
		return fmt.Errorf("%s is read-only", args[0])
	}
	if err := unix.Mount(args[0], args[0], "", unix.MS_BIND, ""); err != nil {
		return err
	}
	return unix.Mount("", args[0], "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")
}

// hang mounts a disk over the directory args[0] that does not answer, as one on the network does
// whose server is gone, until SIGTERM.
func hang(args []string) error {
	device, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", device.Fd())
	if err := unix.Mount("none", args[0], "fuse", 0, options); err != nil {
		return errors.Join(err, device.Close())
	}
	return errors.Join(AwaitSignal(), device.Close(), uncover(args))
}
