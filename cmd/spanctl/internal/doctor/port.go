package doctor

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// portOwner returns who has a UDP port; nil if it is free.
func portOwner(port int) *PortOwner {
	inodes := map[string]bool{}
	for _, table := range []string{"/proc/net/udp", "/proc/net/udp6"} {
		socketsOn(table, port, inodes)
	}
	if len(inodes) == 0 {
		return nil
	}
	owner := &PortOwner{Known: true}
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return owner // not reached: the pattern is valid
	}
	for _, dir := range processes {
		has, err := hasSocket(dir, inodes)
		if os.IsPermission(err) {
			owner.Known = false
		}
		if !has {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(dir)); err == nil {
			owner.Process = process(pid)
			return owner
		}
	}
	return owner
}

// socketsOn adds the inodes of the sockets on a port in a table of the kernel (proc(5),
// /proc/net/udp).
func socketsOn(table string, port int, inodes map[string]bool) {
	f, err := os.Open(table)
	if err != nil {
		return
	}
	defer func() { _ = f.Close() }()
	suffix := fmt.Sprintf(":%04X", port)
	const local, inode = 1, 9
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) > inode && strings.HasSuffix(fields[local], suffix) {
			inodes["socket:["+fields[inode]+"]"] = true
		}
	}
}

// hasSocket reports whether a process has one of some sockets.
func hasSocket(process string, inodes map[string]bool) (bool, error) {
	entries, err := os.ReadDir(filepath.Join(process, "fd"))
	if err != nil {
		return false, err
	}
	for _, entry := range entries {
		if target, err := os.Readlink(filepath.Join(process, "fd", entry.Name())); err == nil && inodes[target] {
			return true, nil
		}
	}
	return false, nil
}
