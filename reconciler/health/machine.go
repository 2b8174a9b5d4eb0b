package health

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/mesh"
)

// Failure is a pass that failed.
type Failure struct {
	// Change is the change that failed, as `spanctl diff` shows it; "" where none was tried.
	Change string
	// Err is its error.
	Err error
	// Times is how many passes in a row failed, with this one.
	Times int
}

// judgePass returns the condition of the last pass, if that failed.
func judgePass(_ time.Time, s *Snapshot) []condition.Condition {
	if s.Failure == nil {
		return nil
	}
	if failed := (*condition.Error)(nil); errors.As(s.Failure.Err, &failed) {
		return []condition.Condition{failed.Condition}
	}
	cause := s.Failure.Err.Error()
	if s.Failure.Change != "" {
		cause = s.Failure.Change + ": " + cause
	}
	return []condition.Condition{{
		Code:   condition.PassFailing,
		Cause:  fmt.Sprintf("%s, %s", cause, times(s.Failure.Times)),
		Remedy: remedyOf(s.Failure.Err),
	}}
}

// maxLinks is how many links the cause of NetworkDown names.
const maxLinks = 4

// judgeNetwork returns the condition of a machine that no link connects to others.
func judgeNetwork(_ time.Time, s *Snapshot) []condition.Condition {
	if len(s.Offline) == 0 {
		return nil
	}
	named := make([]string, 0, maxLinks)
	for _, link := range s.Offline[:min(len(s.Offline), maxLinks)] {
		named = append(named, link.String())
	}
	cause := strings.Join(named, ", ")
	if more := len(s.Offline) - maxLinks; more > 0 {
		cause += fmt.Sprintf(", and so on for %d more", more)
	}
	return []condition.Condition{{
		Code:   condition.NetworkDown,
		Cause:  "no link connects this machine to others: " + cause,
		Remedy: networkRemedy(s.Offline),
	}}
}

// networkRemedy says what connects the machine again: what the links lack, of which one is enough.
func networkRemedy(links []mesh.OfflineLink) string {
	const program = "see to the program that configures the network"
	var steps []string
	add := func(step string) {
		if !slices.Contains(steps, step) {
			steps = append(steps, step)
		}
	}
	for _, link := range links {
		switch link.Why {
		case mesh.LinkDown:
			add(fmt.Sprintf("set it up: `ip link set %s up`", link.Name))
		case mesh.NoCarrier:
			add("plug in " + link.Name)
		case mesh.NoAddress:
			add(fmt.Sprintf("give it an address: `ip address add ADDRESS/LENGTH dev %s`, or by DHCP", link.Name))
		}
		if len(steps) == maxLinks {
			break
		}
	}
	return strings.Join(append(steps, program), ", or ")
}

func times(n int) string {
	if n <= 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

const tooBusy = "the machine is too busy, or a device does not answer: `top` and `dmesg` show it"

// remedies are what helps against classes of errors. The first that fits counts.
var remedies = []struct {
	errs   []error
	remedy string
}{
	{[]error{syscall.EROFS},
		"make the file system writable; where it is /proc/sys, as in a container, make the setting outside of the container, or run that privileged"},
	{[]error{syscall.ENOSPC, syscall.EDQUOT},
		"make room on the disk"},
	{[]error{syscall.EIO},
		"look at the disk: `dmesg` has its errors"},
	{[]error{syscall.EMFILE, syscall.ENFILE},
		"raise LimitNOFILE= of the agent's unit or the sysctl fs.file-max, or find the program that has the files open"},
	{[]error{syscall.ENOMEM, syscall.ENOBUFS, syscall.EAGAIN},
		"free memory, or raise the limits of the agent's unit or container"},
	{[]error{syscall.EPERM, syscall.EACCES, fs.ErrPermission},
		"run the agent as root, such as by its unit, and see whether AppArmor, SELinux or a seccomp filter refuses it"},
	{[]error{syscall.EOPNOTSUPP, syscall.EPROTONOSUPPORT, syscall.EAFNOSUPPORT, syscall.ENOSYS},
		"the kernel lacks what the change needs: load the module, or boot another kernel"},
	{[]error{syscall.EEXIST, syscall.EBUSY, syscall.EADDRINUSE},
		"another program has the object: find it with `ip monitor`, or take another name, port, table or priority in machine.network.kubespan"},
	{[]error{syscall.ENODEV, syscall.ENOENT, syscall.ESRCH, fs.ErrNotExist},
		"what the change needs is not there: if the next pass fails as well, another program removes it, which `ip monitor` shows"},
	{[]error{syscall.EINVAL, syscall.ERANGE, syscall.E2BIG},
		"the kernel refuses the value: compare it with `spanctl diff`, and take another in machine.network.kubespan"},
	{[]error{context.DeadlineExceeded, syscall.ETIMEDOUT, syscall.EINTR},
		tooBusy},
}

// remedyOf returns what helps against an error by its class.
func remedyOf(err error) string {
	for _, r := range remedies {
		for _, one := range r.errs {
			if errors.Is(err, one) {
				return r.remedy
			}
		}
	}
	if late := (interface{ Timeout() bool })(nil); errors.As(err, &late) && late.Timeout() {
		return tooBusy
	}
	return "the agent tries again; if it lasts, compare `spanctl diff` with the config, and restart the agent, which leaves the mesh up"
}
