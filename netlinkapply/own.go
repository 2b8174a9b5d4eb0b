package netlinkapply

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/netlinkapply/firewall"
	"github.com/spanmesh/span/netlinkapply/userspace"
	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/state"
)

// findLink returns spanctl's link, nil if there is none. It may have been given another name.
// Another program's link with the name is an error.
func (k *Kernel) findLink(scope state.Scope) (netlink.Link, error) {
	named, err := k.linkByName(scope.LinkName)
	if err != nil {
		return nil, err
	}
	index, known := k.indexes[scope.LinkName]
	if named != nil && known && named.Attrs().Index == index {
		return named, nil
	}
	renamed, err := k.findRenamed(scope, named)
	if err != nil {
		return nil, err
	}
	if named != nil {
		if err := checkOurs(scope.LinkName, named, renamed); err != nil {
			return nil, err
		}
		renamed = named
	}
	delete(k.indexes, scope.LinkName)
	if renamed != nil {
		k.indexes[scope.LinkName] = renamed.Attrs().Index
	}
	return renamed, nil
}

// presentName returns the name that the mesh's link has among links, if it was renamed.
func (k *Kernel) presentName(meshLink string, links []netlink.Link) string {
	for _, link := range links {
		if index, known := k.indexes[meshLink]; known && link.Attrs().Index == index {
			return link.Attrs().Name
		}
	}
	return meshLink
}

// linkByName returns the link with the name, nil if there is none.
func (k *Kernel) linkByName(name string) (netlink.Link, error) {
	link, err := k.handle.LinkByName(name)
	var absent netlink.LinkNotFoundError
	if errors.As(err, &absent) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for link %s: %w", name, err)
	}
	return link, nil
}

// checkOurs returns an error if the link with the name is another program's. Renamed is
// spanctl's link under another name, nil if there is none.
func checkOurs(name string, named, renamed netlink.Link) error {
	taken := condition.Condition{Code: condition.LinkNameTaken, Subject: name}
	kind := named.Type()
	switch {
	case renamed != nil:
		taken.Cause = fmt.Sprintf("link %s is a %s that spanctl did not make, and spanctl's own link has the name %s", name, kind, renamed.Attrs().Name)
		taken.Remedy = fmt.Sprintf("rename or delete link %s: spanctl then gives its own link the name", name)
	case kind == kindWireguard, kind == kindTUN && userspace.Exists(name):
		return nil
	default:
		taken.Cause = fmt.Sprintf("link %s is a %s that spanctl did not make", name, kind)
		taken.Remedy = "rename it, or set machine.network.kubespan.interfaceName to another name"
	}
	return &condition.Error{Condition: taken}
}

// findRenamed returns spanctl's link if it has another name than the config's, nil if there
// is none. Named is the link that has that name, nil if there is none.
func (k *Kernel) findRenamed(scope state.Scope, named netlink.Link) (netlink.Link, error) {
	if name, err := userspace.DeviceName(scope.LinkName); err == nil {
		return k.renamedTUN(scope.LinkName, name)
	}
	links, err := dump(k.handle.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	routed, err := k.routedLinks(scope)
	if err != nil {
		return nil, err
	}
	if named != nil && (isMarked(named, scope.LinkName) || routed[named.Attrs().Index]) {
		return nil, nil
	}
	for _, link := range links {
		if link.Type() != kindWireguard || link.Attrs().Name == scope.LinkName {
			continue
		}
		index := link.Attrs().Index
		if index == k.indexes[scope.LinkName] || isMarked(link, scope.LinkName) {
			return link, nil
		}
		if !routed[index] {
			continue
		}
		if others, err := isOfAnotherMesh(link); err != nil || !others {
			return link, err
		}
	}
	return nil, nil
}

// isOfAnotherMesh reports whether a link is that of another mesh of this machine. Its routes
// may be in the same table by mistake.
func isOfAnotherMesh(link netlink.Link) (bool, error) {
	if strings.HasPrefix(link.Attrs().Alias, alias("")) {
		return true, nil
	}
	return firewall.Exists(state.TableName(link.Attrs().Name))
}

// isMarked reports whether a link of the kernel's WireGuard has the alias of spanctl's link.
func isMarked(link netlink.Link, name string) bool {
	marked, _, ours := parseAlias(link.Attrs().Alias)
	return link.Type() == kindWireguard && ours && marked == name
}

// renamedTUN returns the TUN device of the process for the link, nil if it has the link's name
// or is in another network namespace. Name is its present name.
func (k *Kernel) renamedTUN(linkName, name string) (netlink.Link, error) {
	if name == linkName || name == "" {
		return nil, nil
	}
	link, err := k.linkByName(name)
	if err != nil || link == nil || link.Type() != kindTUN {
		return nil, err
	}
	return link, nil
}

// routedLinks returns the indexes of the links that spanctl's routes lead to.
func (k *Kernel) routedLinks(scope state.Scope) (map[int]bool, error) {
	led := map[int]bool{}
	for _, f := range state.Families {
		routes, err := dump(func() ([]netlink.Route, error) {
			return k.routes.RouteListFiltered(family(f), &netlink.Route{Table: scope.RoutingTable, Protocol: state.Protocol},
				netlink.RT_FILTER_TABLE|netlink.RT_FILTER_PROTOCOL)
		})
		if err != nil && !errors.Is(err, unix.ENOENT) { // the table has no routes
			return nil, fmt.Errorf("list routes: %w", err)
		}
		for _, r := range routes {
			led[r.LinkIndex] = true
		}
	}
	return led, nil
}

// alias is the alias of spanctl's link (`ip link show`), which stays when the link is renamed: the
// link's name, and its owner after another colon. Names of links have no colon.
func alias(name string) string { return "spanctl:" + name }

// maxAlias is the length of the longest alias in bytes (IFALIASZ, with its end).
const maxAlias = 255

// parseAlias returns the name and the owner in the alias of a link, and whether it is spanctl's.
// Earlier versions wrote no owner.
func parseAlias(text string) (name, owner string, ours bool) {
	rest, ours := strings.CutPrefix(text, alias(""))
	name, owner, _ = strings.Cut(rest, ":")
	return name, owner, ours
}

// mark gives a new link its alias. Without it, a link that is renamed is found by its routes, and
// its owner by its key.
func (k *Kernel) mark(name string) {
	link, err := k.handle.LinkByName(name)
	if err != nil {
		return
	}
	text := alias(name)
	if owned := text + ":" + k.Owner; k.Owner != "" && len(owned) <= maxAlias {
		text = owned
	}
	_ = k.handle.LinkSetAlias(link, text)
}

// renameLink gives a link another name. Kernels before 6.2 rename no link that is up; the next
// pass restores what the kernel removes with a link that goes down.
func (k *Kernel) renameLink(from, to string) error {
	link, err := k.handle.LinkByName(from)
	if err != nil {
		return err
	}
	err = k.handle.LinkSetName(link, to)
	if errors.Is(err, unix.EBUSY) {
		err = errors.Join(k.handle.LinkSetDown(link), k.handle.LinkSetName(link, to), k.handle.LinkSetUp(link))
	}
	if err != nil {
		return fmt.Errorf("rename link %s to %s: %w", from, to, err)
	}
	return nil
}

// Restart ends the userspace process of the link.
func (k *Kernel) Restart(ctx context.Context, scope state.Scope) error {
	delete(k.indexes, scope.LinkName)
	return userspace.Kill(ctx, scope.LinkName)
}

// isUnresponsive reports whether err is that of a WireGuard process that does not answer.
func isUnresponsive(err error) bool {
	var unresponsive *userspace.UnresponsiveError
	return errors.As(err, &unresponsive)
}

// explainUnresponsive gives the error of a process that does not answer its condition.
func (k *Kernel) explainUnresponsive(err error) error {
	var unresponsive *userspace.UnresponsiveError
	if !errors.As(err, &unresponsive) {
		k.unresponsiveSince = time.Time{}
		return err
	}
	if k.unresponsiveSince.IsZero() {
		k.unresponsiveSince = time.Now()
		if !unresponsive.Lost {
			k.unresponsiveSince = k.unresponsiveSince.Add(-userspace.AnswerTimeout)
		}
	}
	end := "end it"
	if unresponsive.PID != 0 {
		end = fmt.Sprintf("end it with `kill -KILL %d`", unresponsive.PID)
	}
	return &condition.Error{Condition: condition.Condition{
		Code:    condition.WireGuardUnresponsive,
		Subject: unresponsive.Link,
		Cause:   fmt.Sprintf("%v, since %s", unresponsive, k.unresponsiveSince.UTC().Format(time.RFC3339)),
		Remedy:  fmt.Sprintf("a running agent restarts it; without one, %s and run the command again", end),
	}}
}
