package nodecmd

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// ownEtc gives a node another /etc, which is a directory: ownEtc DIR. Later mounts of others do not reach it.
func ownEtc(args []string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make the mounts private: %w", err)
	}
	if err := unix.Mount(args[0], "/etc", "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount %s: %w", args[0], err)
	}
	return nil
}

// mountFile puts a file in the place of another one, as containers have it: mountFile FILE AT.
func mountFile(args []string) error {
	if err := unix.Mount(args[0], args[1], "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount %s at %s: %w", args[0], args[1], err)
	}
	return nil
}
