package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/cmd/spanctl/internal/support"
	"github.com/spanmesh/span/cmd/spanctl/internal/version"
	"github.com/spanmesh/span/reconciler/state"
)

// kernelFiles returns the files with what the kernel has, for the mesh of a link.
func kernelFiles(link string) []support.File {
	return []support.File{
		{Name: "versions.txt", About: "versions of spanctl, Go, the kernel and the system", Read: readVersions},
		{Name: "kernel/links.txt", About: "links and their addresses (ip)", Read: programs([]string{"ip", "-details", "-statistics", "address"})},
		{Name: "kernel/routes.txt", About: "the routes of all tables (ip)", Read: programs(
			[]string{"ip", "-4", "route", "show", "table", "all"}, []string{"ip", "-6", "route", "show", "table", "all"})},
		{Name: "kernel/rules.txt", About: "the rules that choose tables (ip)", Read: programs([]string{"ip", "-4", "rule"}, []string{"ip", "-6", "rule"})},
		{Name: "kernel/nftables.txt", About: "the nftables tables of spanctl, and the names of all (nft)", Read: programs(
			[]string{"nft", "list", "table", "inet", state.TableName(link)}, []string{"nft", "list", "table", "inet", state.GuardName(link)}, []string{"nft", "list", "tables"})},
		{Name: "kernel/sysctls.txt", About: "the sysctls that a mesh depends on", Read: func(context.Context) ([]byte, error) { return readSysctls(link) }},
		{Name: "kernel/counters.txt", About: "counters of links and protocols, from /proc/net", Read: func(context.Context) ([]byte, error) {
			return readFiles("/proc/net/dev", "/proc/net/snmp", "/proc/net/snmp6", "/proc/net/netstat")
		}},
	}
}

// programs returns a File.Read of what programs print, one after the other.
func programs(lines ...[]string) func(context.Context) ([]byte, error) {
	return func(ctx context.Context) ([]byte, error) {
		var out bytes.Buffer
		var errs []error
		for _, line := range lines {
			fmt.Fprintf(&out, "# %s\n", strings.Join(line, " "))
			var said limited
			cmd := exec.CommandContext(ctx, line[0], line[1:]...)
			cmd.Env = append(os.Environ(), "LC_ALL=C")
			cmd.Stdout, cmd.Stderr = &out, &said
			if err := cmd.Run(); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w %s", strings.Join(line, " "), err, said.String()))
			}
			out.WriteString("\n")
		}
		return out.Bytes(), errors.Join(errs...)
	}
}

func readVersions(context.Context) ([]byte, error) {
	var out bytes.Buffer
	fmt.Fprintf(&out, "spanctl %s, commit %s, %s %s/%s\n", version.Version, version.Commit, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	var u unix.Utsname
	if err := unix.Uname(&u); err == nil {
		fmt.Fprintf(&out, "kernel %s %s %s\n", unix.ByteSliceToString(u.Release[:]), unix.ByteSliceToString(u.Version[:]), unix.ByteSliceToString(u.Machine[:]))
	}
	_, err := os.Stat("/sys/module/wireguard")
	fmt.Fprintf(&out, "module wireguard loaded: %t\n\n", err == nil)
	text, err := readFiles("/etc/os-release")
	out.Write(text)
	return out.Bytes(), err
}

// sysctls are patterns of the sysctls that a mesh depends on, below /proc/sys/net. A %s is the link.
var sysctls = []string{
	"ipv4/ip_forward", "ipv4/ping_group_range", "ipv4/conf/all/rp_filter", "ipv4/conf/default/rp_filter", "ipv4/conf/%s/rp_filter",
	"ipv4/conf/*/src_valid_mark", "ipv4/conf/all/forwarding", "ipv4/fwmark_reflect", "ipv4/tcp_mtu_probing",
	"ipv6/conf/*/disable_ipv6", "ipv6/conf/*/forwarding", "ipv6/conf/*/accept_ra", "ipv6/fwmark_reflect", "ipv6/route/max_size",
	"core/rmem_max", "core/wmem_max", "core/rmem_default", "netfilter/nf_conntrack_max", "netfilter/nf_conntrack_count",
}

func readSysctls(link string) ([]byte, error) {
	var out bytes.Buffer
	for _, pattern := range sysctls {
		paths, err := filepath.Glob("/proc/sys/net/" + strings.Replace(pattern, "%s", link, 1))
		if err != nil {
			return nil, err
		}
		for _, path := range paths {
			if value, err := os.ReadFile(path); err == nil {
				fmt.Fprintf(&out, "%s = %s\n", strings.TrimPrefix(path, "/proc/sys/"), bytes.TrimSpace(value))
			}
		}
	}
	return out.Bytes(), nil
}

// readFiles returns files, one after the other, each below its name.
func readFiles(paths ...string) ([]byte, error) {
	var out bytes.Buffer
	var errs []error
	for _, path := range paths {
		text, err := os.ReadFile(path)
		fmt.Fprintf(&out, "# %s\n%s\n", path, text)
		errs = append(errs, err)
	}
	return out.Bytes(), errors.Join(errs...)
}
