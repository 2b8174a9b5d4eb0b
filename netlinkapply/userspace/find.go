package userspace

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spanmesh/span/netlinkapply/detached"
)

// IsProcessOf reports whether a process is one that spanctl started for a link, in whichever network
// namespace. Its program may have any name.
func IsProcessOf(pid int, link string) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return false
	}
	words := strings.Split(string(text), "\x00")
	i := slices.Index(words, Command)
	return i >= 1 && i+1 < len(words) && words[i+1] == link
}

// find returns the process that serves a link in this network namespace, whose control socket has
// been moved or covered; nil if there is none. The caller must close it.
func find(link string) *process {
	paths, _ := filepath.Glob("/proc/[0-9]*") // the pattern is valid
	for _, path := range paths {
		pid, err := strconv.Atoi(filepath.Base(path))
		if err != nil || !IsProcessOf(pid, link) || !serves(pid) {
			continue
		}
		opened, err := detached.Open(pid)
		if err != nil {
			continue
		}
		p := &process{Process: opened, link: link}
		if p.isOurs() && p.isHere {
			return p
		}
		p.Close()
	}
	return nil
}

// serves reports whether a process is the one of the two that goes on, and has its device.
func serves(pid int) bool {
	environment, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	return err == nil && slices.ContainsFunc(bytes.Split(environment, []byte{0}), func(variable []byte) bool {
		return bytes.HasPrefix(variable, []byte(inherited+"="))
	}) && deviceOf(pid) != ""
}

// deviceOf returns the present name of the TUN device of a process; "" for none. The kernel writes
// it into the information on its file (tun_chr_show_fdinfo).
func deviceOf(pid int) string {
	info, err := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%d", pid, tunFD))
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(info)) {
		if name, found := strings.CutPrefix(line, "iff:"); found {
			return strings.TrimSpace(name)
		}
	}
	return ""
}
