package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/cmd/spanctl/internal/hostsfile"
	"github.com/spanmesh/span/cmd/spanctl/internal/nameserver"
	"github.com/spanmesh/span/cmd/spanctl/internal/regular"
	"github.com/spanmesh/span/cmd/spanctl/internal/resolved"
	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/names"
)

const (
	hostsPath      = "/etc/hosts"
	nsswitchPath   = "/etc/nsswitch.conf"
	resolvConfPath = "/etc/resolv.conf"
	// maxResolverFile bounds the size of the files that say how names are resolved, in bytes.
	maxResolverFile = 64 << 10

	systemdName = "systemd-resolved"
	// resolvedPatience is how long a systemd-resolved is waited for that the machine uses and that does not run:
	// at boot, the agent comes before it.
	resolvedPatience = 30 * time.Second
	// resolvedTimeout bounds the calls of systemd-resolved.
	resolvedTimeout = 5 * time.Second
)

// nameResolver is systemd-resolved.
type nameResolver interface {
	// Used reports whether this machine's programs ask it.
	Used() bool
	Apply(ctx context.Context, link resolved.Link) error
	Revert(ctx context.Context, index int, servers []netip.Addr) error
}

// systemdResolved is that of this machine.
type systemdResolved struct{}

// Used implements nameResolver.
func (systemdResolved) Used() bool {
	nsswitch, _ := regular.Read(nsswitchPath, maxResolverFile) // one that cannot be read asks nobody
	conf, _ := regular.Read(resolvConfPath, maxResolverFile)
	return resolved.Uses(string(nsswitch), string(conf))
}

// Apply implements nameResolver.
func (systemdResolved) Apply(ctx context.Context, link resolved.Link) error {
	ctx, cancel := context.WithTimeout(ctx, resolvedTimeout)
	defer cancel()
	return resolved.Apply(ctx, link)
}

// Revert implements nameResolver.
func (systemdResolved) Revert(ctx context.Context, index int, servers []netip.Addr) error {
	ctx, cancel := context.WithTimeout(ctx, resolvedTimeout)
	defer cancel()
	return resolved.Revert(ctx, index, servers)
}

// nameHosts is the block of names in a file of hosts. It may be used concurrently.
type nameHosts struct {
	mu   sync.Mutex
	file hostsfile.File
}

// newNameHosts returns the block of the spanctl with a state directory.
func newNameHosts(stateDir string) *nameHosts {
	owner := stateDir
	if quoted := strconv.Quote(owner); quoted != `"`+owner+`"` {
		owner = quoted
	}
	return &nameHosts{file: hostsfile.File{Path: hostsPath, Owner: owner}}
}

func (h *nameHosts) set(lines []string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.file.Set(lines)
}

// remove removes the block.
func (h *nameHosts) remove() error {
	if err := h.set(nil); err != nil {
		return fmt.Errorf("remove the names of the mesh: %w", err)
	}
	return nil
}

// hostLines returns the lines of a file of hosts.
func hostLines(t *names.Table) []string {
	lines := make([]string, 0, len(t.Hosts))
	for _, h := range t.Hosts {
		all := make([]string, len(h.Labels))
		for i, label := range h.Labels {
			all[i] = t.Name(label)
		}
		for _, a := range h.Addresses {
			lines = append(lines, a.String()+"\t"+strings.Join(all, " "))
		}
	}
	return lines
}

// nameForce has the machine resolve names: by systemd-resolved where it uses that, or else by /etc/hosts.
type nameForce struct {
	hosts    *nameHosts
	resolver nameResolver
	log      *slog.Logger
	// waiting is since when a systemd-resolved that is used does not run; zero if it does.
	waiting time.Time
}

// apply has the names of a table resolved. Servers are the addresses at which they are answered. It returns
// what resolves them; empty for nothing yet.
func (f *nameForce) apply(ctx context.Context, now time.Time, want *nameWant, table *names.Table, servers []netip.Addr) (by string, found []condition.Condition) {
	if f.resolver.Used() {
		by, found, runs := f.applyResolved(ctx, now, want, servers)
		if runs || by == "" && now.Sub(f.waiting) < resolvedPatience {
			return by, found
		}
	}
	if err := f.hosts.set(hostLines(table)); err != nil {
		return "", []condition.Condition{notWritten(err)}
	}
	return hostsPath, nil
}

// applyResolved has systemd-resolved resolve them. Runs is not set where it does not run.
func (f *nameForce) applyResolved(ctx context.Context, now time.Time, want *nameWant, servers []netip.Addr) (by string, found []condition.Condition, runs bool) {
	if len(servers) == 0 {
		return "", nil, true // that is a condition of its own
	}
	err := f.resolver.Apply(ctx, resolved.Link{Name: want.link, Index: want.index, Server: servers[0], Domains: append([]string{want.domain}, want.reverseZones()...)})
	if errors.Is(err, resolved.ErrNotRunning) {
		if f.waiting.IsZero() {
			f.waiting = now
		}
		return "", nil, false
	}
	f.waiting = time.Time{}
	if err != nil {
		return "", []condition.Condition{{Code: condition.NamesNotInForce, Subject: systemdName, Cause: err.Error(),
			Remedy: "see `resolvectl status " + want.link + "`; `journalctl -u systemd-resolved` may say more"}}, true
	}
	if err := f.hosts.remove(); err != nil {
		found = append(found, notWritten(err))
	}
	return systemdName, found, true
}

// withdraw has no names resolved.
func (f *nameForce) withdraw(ctx context.Context, want *nameWant) (found []condition.Condition) {
	f.waiting = time.Time{}
	if want.index != 0 {
		if err := f.resolver.Revert(ctx, want.index, want.addresses[:]); err != nil {
			f.log.Warn("names not withdrawn", "resolver", systemdName, "error", err)
		}
	}
	if err := f.hosts.remove(); err != nil {
		found = append(found, notWritten(err))
	}
	return found
}

// notWritten is the condition of a file of hosts.
func notWritten(err error) condition.Condition {
	c := condition.Condition{Code: condition.NamesNotInForce, Subject: hostsPath, Cause: err.Error(),
		Remedy: "make it a regular file that the agent may write to"}
	switch {
	case errors.Is(err, hostsfile.ErrReplaced):
		c.Remedy = "`systemctl restart spanctl`, which leaves the mesh up"
	case errors.Is(err, unix.EROFS):
		c.Remedy = "let the agent write to it: in a unit by `ReadWritePaths=-" + hostsPath + "`, in a container by a mount"
	case errors.Is(err, unix.ENOSPC):
		c.Remedy = "make room on its disk"
	}
	return c
}

// notServed is the condition of an address at which DNS queries cannot be answered.
func notServed(at netip.AddrPort, err error) condition.Condition {
	c := condition.Condition{Code: condition.NamesNotInForce, Subject: at.String(), Cause: "DNS queries cannot be answered there: " + err.Error(),
		Remedy: "see what keeps the mesh from being up"}
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		c.Cause = fmt.Sprintf("another program has port %d of all addresses, or of this one", nameserver.Port)
		c.Remedy = fmt.Sprintf("have it listen at its own addresses alone, such as by `bind-dynamic` of dnsmasq: `ss -lnptu sport = :%d` names it", nameserver.Port)
	case errors.Is(err, unix.EACCES):
		c.Cause = "the agent may not listen at ports below 1024"
		c.Remedy = "give it CAP_NET_BIND_SERVICE, as its unit does"
	}
	return c
}
