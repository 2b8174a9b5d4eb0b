package netlinkapply

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/wgctrl"

	"github.com/spanmesh/span/netlinkapply/echo"
	"github.com/spanmesh/span/netlinkapply/firewall"
	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/state"
)

// Mode selects the kernel's WireGuard or the userspace process.
type Mode string

// The modes.
const (
	// Auto uses the kernel's WireGuard, and the userspace process if the kernel has none.
	Auto Mode = "auto"
	// InKernel fails if the kernel has no WireGuard.
	InKernel Mode = "kernel"
	// InUserspace always uses the userspace process.
	InUserspace Mode = "userspace"
)

// Userspace starts the userspace WireGuard process of the named link and returns when
// the process accepts configuration.
type Userspace func(ctx context.Context, linkName string) error

// Kernel reads and changes the network namespace of the process. It is for one goroutine.
type Kernel struct {
	// Owner is written on the links that are made, for Meshes: the path of a state directory.
	Owner string

	mode      Mode
	userspace Userspace
	handle    *netlink.Handle
	// routes is the handle for listing routes. It has strict checks on, with which the
	// library's other listings fail.
	routes *netlink.Handle
	// indexes are the indexes of the links that were found, by the names that they should have.
	indexes map[string]int
	// unresponsiveSince is when the WireGuard process did not answer for the first time; zero
	// while it does.
	unresponsiveSince time.Time
	// last is the WireGuard device that was read last.
	last lastDevice
	// firewall are the nftables tables.
	firewall firewall.Tables
	// echoes are those to peers.
	echoes echo.Socket
}

// Open connects to the kernel. Userspace may be nil. The caller must call Close.
func Open(mode Mode, userspace Userspace) (*Kernel, error) {
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open a netlink socket: %w", err)
	}
	routes, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		handle.Close()
		return nil, fmt.Errorf("open a netlink socket: %w", err)
	}
	// With strict checks, kernels since 4.20 filter the listing by table. A router with a
	// million routes then lists only those of spanctl's table.
	_ = routes.SetStrictCheck(true)
	return &Kernel{mode: mode, userspace: userspace, handle: handle, routes: routes, indexes: map[string]int{}}, nil
}

// Close closes the connection. The configuration stays.
func (k *Kernel) Close() {
	k.handle.Close()
	k.routes.Close()
	k.firewall.Close()
	k.echoes.Close()
}

// explain gives an error the condition that it is one of.
func explain(err error) error {
	if failed := (*condition.Error)(nil); errors.As(err, &failed) {
		return err
	}
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return &condition.Error{Condition: notPermitted(readRights()), Err: err}
	}
	return err
}

// Observe reads the objects in the kernel that have the ownership marks of scope. The caller may sort
// and cut the lists of the state. Networks and statements are shared and must not be changed.
func (k *Kernel) Observe(scope state.Scope) (state.State, error) {
	var s state.State
	link, err := k.findLink(scope)
	if err != nil {
		return s, explain(err)
	}
	present := ""
	if link == nil {
		s.IPv6Off = isIPv6Off(defaultSettings)
	} else {
		present = link.Attrs().Name
		if err := k.observeLink(&s, scope, link); err != nil {
			return s, explain(fmt.Errorf("read link %s: %w", scope.LinkName, err))
		}
	}
	withoutIPv6 := checkIPv6(present)
	if withoutIPv6 != nil {
		s.Conditions = append(s.Conditions, *withoutIPv6)
	}
	for _, read := range []struct {
		what string
		from func(*state.State, state.Scope) error
	}{
		{"routes", k.observeRoutes},
		{"rules", k.observeRules},
		{"nftables", k.observeFirewall},
	} {
		err := read.from(&s, scope)
		if err != nil && withoutIPv6 != nil {
			return s, &condition.Error{Condition: *withoutIPv6, Err: err}
		}
		if err != nil {
			return s, explain(fmt.Errorf("read %s: %w", read.what, err))
		}
	}
	s.Separate(scope)
	s.Normalize()
	return s, nil
}

func (k *Kernel) observeFirewall(s *state.State, scope state.Scope) (err error) {
	s.Firewall, s.Neighbours, err = k.firewall.Observe(scope, time.Now())
	return err
}

// Apply carries out a plan in order and stops at the first error. Consecutive changes of
// peers are sent together. If that fails they are sent one by one, so that the Result names
// the peer that was refused. A new nftables table is rehearsed first, since the kernel may
// lack some of its expressions.
func (k *Kernel) Apply(ctx context.Context, scope state.Scope, plan state.Plan) state.Result {
	var result state.Result
	for i, c := range plan {
		if c, is := c.(state.FirewallChange); is && i > 0 && c.Action() == state.Create {
			if err := firewall.Rehearse(c.New); err != nil {
				return state.Result{NotDone: plan, Failed: c, Err: explain(err)}
			}
		}
	}
	for rest := plan; len(rest) > 0; {
		if err := ctx.Err(); err != nil {
			return failed(result, rest, err)
		}
		n, err := k.changeNext(ctx, scope, rest)
		if err != nil {
			return failed(result, rest, explain(err))
		}
		result.Done = append(result.Done, rest[:n]...)
		rest = rest[n:]
	}
	return result
}

func failed(result state.Result, rest state.Plan, err error) state.Result {
	result.NotDone, result.Failed, result.Err = rest, rest[0], err
	return result
}

// changeNext carries out the first change of plan, or all changes of peers that it begins with.
// It returns the number of changes.
func (k *Kernel) changeNext(ctx context.Context, scope state.Scope, plan state.Plan) (int, error) {
	n := peersAtHead(plan)
	if n == 0 {
		return 1, k.change(ctx, scope, plan[0])
	}
	err := k.changePeers(scope.LinkName, plan[:n])
	if err != nil && n > 1 && ctx.Err() == nil && !isUnresponsive(err) {
		n, err = 1, k.changePeers(scope.LinkName, plan[:1])
	}
	return n, err
}

// peersAtHead returns the number of changes of peers that plan begins with.
func peersAtHead(plan state.Plan) int {
	n := slices.IndexFunc(plan, func(c state.Change) bool {
		_, isPeer := c.(state.PeerChange)
		return !isPeer
	})
	if n < 0 {
		return len(plan)
	}
	return n
}

// change carries out a change of any object but a peer.
func (k *Kernel) change(ctx context.Context, scope state.Scope, c state.Change) error {
	switch c := c.(type) {
	case state.LinkChange:
		return k.changeLink(ctx, scope, c)
	case state.AddressChange:
		return k.changeAddress(c)
	case state.RouteChange:
		return k.changeRoute(c)
	case state.RuleChange:
		return k.changeRule(c)
	case state.FirewallChange:
		return k.firewall.Apply(c)
	case state.NetworksChange:
		return k.firewall.ApplyNetworks(c)
	case state.ReversePathChange:
		return loosen(c)
	case state.IPv6Change:
		return enableIPv6(c.Link)
	default:
		return fmt.Errorf("unknown change %T", c)
	}
}

// dumpTries is how often an interrupted listing is tried.
const dumpTries = 5

// dump lists objects. The kernel interrupts a listing if its objects change meanwhile
// (NLM_F_DUMP_INTR); dump then lists again.
func dump[T any](list func() ([]T, error)) ([]T, error) {
	var all []T
	var err error
	for range dumpTries {
		if all, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			return all, err
		}
	}
	return all, err
}

// wireguard opens wgctrl for one use. It cannot stay open: wgctrl looks for the kernel's
// WireGuard when it opens, and the kernel may load the module only for the first link.
func wireguard(use func(*wgctrl.Client) error) error {
	client, err := wgctrl.New()
	if err != nil {
		return fmt.Errorf("open wgctrl: %w", err)
	}
	return errors.Join(use(client), client.Close())
}
