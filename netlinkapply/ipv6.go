package netlinkapply

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/reconciler/condition"
)

const (
	// defaultSettings has the settings of new links.
	defaultSettings = "default"
	// disabled and enabled are values of disable_ipv6 (the kernel's ip-sysctl documentation).
	disabled = "1"
	enabled  = "0"
)

// ipv6Setting is the path of disable_ipv6 of a link, below net.
func ipv6Setting(link string) string { return filepath.Join("ipv6/conf", link, "disable_ipv6") }

// isIPv6Off reports whether IPv6 is disabled on a link.
func isIPv6Off(link string) bool { return sysctl(ipv6Setting(link)) == disabled }

// enableIPv6 enables IPv6 on spanctl's own link. Others keep their settings.
func enableIPv6(link string) error {
	path := ipv6Setting(link)
	err := os.WriteFile(filepath.Join(systemSettings, path), []byte(enabled), 0)
	if err != nil && os.WriteFile(filepath.Join(outsideSettings, path), []byte(enabled), 0) == nil {
		return nil
	}
	if err != nil {
		return &condition.Error{Condition: ipv6Disabled(link, "and cannot be enabled here"), Err: err}
	}
	return nil
}

func ipv6Disabled(link, why string) condition.Condition {
	return condition.Condition{
		Code:   condition.IPv6Disabled,
		Cause:  fmt.Sprintf("net.ipv6.conf.%s.disable_ipv6 is 1, %s; the addresses of the mesh are IPv6", link, why),
		Remedy: fmt.Sprintf("run `sysctl -w net.ipv6.conf.%s.disable_ipv6=0`, and look for the file in /etc/sysctl.d that sets it to 1", link),
	}
}

// checkIPv6 returns the condition of a machine on which no link can have IPv6, nil if one can.
// Link is spanctl's, "" before there is one.
func checkIPv6(link string) *condition.Condition {
	if _, err := os.Stat(filepath.Join(systemSettings, "ipv6/conf")); errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(filepath.Join(systemSettings, "ipv4/conf")); err != nil {
			return nil // without /proc, a refusal of the kernel shows it
		}
		return &condition.Condition{
			Code:     condition.IPv6Disabled,
			Cause:    "this kernel runs without IPv6 (there is no net.ipv6.conf), and the addresses of the mesh are IPv6",
			Remedy:   "boot without the kernel parameter ipv6.disable=1, or load the module ipv6",
			Blocking: true,
		}
	}
	settings := link
	if link == "" {
		settings = defaultSettings
	}
	if !isIPv6Off(settings) || isWritable(ipv6Setting(settings)) {
		return nil
	}
	found := ipv6Disabled(settings, "and cannot be changed here, since /proc/sys is read-only")
	found.Blocking = true
	return &found
}

// isWritable reports whether this process may write a setting, here or outside of its
// container.
func isWritable(path string) bool {
	for _, root := range []string{systemSettings, outsideSettings} {
		file, err := os.OpenFile(filepath.Join(root, path), os.O_WRONLY, 0)
		if err == nil {
			_ = file.Close()
			return true
		}
	}
	return false
}

// explainIPv6 returns the condition of an object that the kernel refuses because IPv6 is
// disabled on its link, and any other error as it is.
func explainIPv6(link string, err error) error {
	refused := errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP)
	if !refused {
		return err
	}
	if found := checkIPv6(link); found != nil {
		return &condition.Error{Condition: *found, Err: err}
	}
	if isIPv6Off(link) {
		return &condition.Error{Condition: ipv6Disabled(link, "and was set just now"), Err: err}
	}
	return err
}
