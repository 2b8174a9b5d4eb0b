package netlinkapply

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/reconciler/condition"
)

// rights are what decides whether a process may configure the network (capabilities(7),
// user_namespaces(7)).
type rights struct {
	// admin is set if it has CAP_NET_ADMIN, bounded if it could have it.
	admin, bounded bool
	// root is set if its user is root.
	root bool
	// inner is set if it is in a user namespace that is not the initial one.
	inner bool
}

// readRights returns the rights of this process. Without /proc it has those of an ordinary user.
func readRights() rights {
	status, err := os.ReadFile("/proc/thread-self/status")
	if err != nil {
		return rights{bounded: true, root: os.Geteuid() == 0}
	}
	users, err := os.ReadFile("/proc/self/uid_map")
	r := parseRights(string(status))
	r.root, r.inner = os.Geteuid() == 0, err == nil && isInner(string(users))
	return r
}

// parseRights reads the capabilities of a /proc/PID/status.
func parseRights(status string) rights {
	const admin = 1 << unix.CAP_NET_ADMIN
	effective, _ := capabilitySet(status, "CapEff") // what is not known is not there
	bounding, _ := capabilitySet(status, "CapBnd")
	return rights{admin: effective&admin != 0, bounded: bounding&admin != 0}
}

// capabilitySet returns the bits of a set of capabilities in a /proc/PID/status, and whether it
// has that.
func capabilitySet(status, set string) (bits uint64, known bool) {
	for lines := bufio.NewScanner(strings.NewReader(status)); lines.Scan(); {
		if name, value, _ := strings.Cut(lines.Text(), ":"); name == set {
			bits, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64)
			return bits, err == nil
		}
	}
	return 0, false
}

// CapabilitiesOf returns the bits of the effective capabilities of a process (capabilities(7)), and
// whether they can be read.
func CapabilitiesOf(pid int) (effective uint64, known bool) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, false
	}
	return capabilitySet(string(status), "CapEff")
}

// isInner reports whether a /proc/PID/uid_map is that of a user namespace within another one: the
// initial one maps all IDs to themselves.
func isInner(users string) bool {
	return strings.Join(strings.Fields(users), " ") != "0 0 4294967295"
}

// notPermitted returns the condition of a process with some rights that the kernel has refused to
// configure the network.
func notPermitted(r rights) condition.Condition {
	c := condition.Condition{Code: condition.NotPermitted, Cause: "not permitted to configure the network: CAP_NET_ADMIN is missing"}
	switch {
	case r.admin && r.inner:
		c.Cause = "not permitted to configure the network: CAP_NET_ADMIN is there for another user namespace than that of this network"
		c.Remedy = "give the container a network of its own, or run it without a user namespace, such as by root's podman or docker"
	case r.admin:
		c.Cause = "not permitted to configure the network, although CAP_NET_ADMIN is there: AppArmor, SELinux or a seccomp filter refuses it"
		c.Remedy = "look for the refusal in `dmesg` or `ausearch -m avc`, and allow it"
	case !r.bounded:
		c.Cause += ", and is kept from this container or unit"
		c.Remedy = "give the container the capability (`--cap-add NET_ADMIN`, or securityContext.capabilities.add of its pod), " +
			"or name it in CapabilityBoundingSet= of the unit"
	default:
		c.Remedy = "run the agent as root, or by its unit: `systemctl start spanctl`"
	}
	return c
}
