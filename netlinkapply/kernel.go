package netlinkapply

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/wgctrl"

	"github.com/spanmesh/span/reconciler/state"
)

// Mode chooses between the kernel's WireGuard and the userspace process.
type Mode string

// The modes.
const (
	// Auto uses the kernel where it has WireGuard.
	Auto Mode = "auto"
	// InKernel fails where the kernel has none.
	InKernel Mode = "kernel"
	// InUserspace uses the process in any case.
	InUserspace Mode = "userspace"
)

// Userspace starts the process that runs WireGuard for the named link, where
// the kernel cannot. It returns once the process answers.
type Userspace func(ctx context.Context, linkName string) error

// Kernel works on the network namespace that the process is in.
type Kernel struct {
	mode      Mode
	userspace Userspace
	handle    *netlink.Handle
	// routes lists routes: it has checks on that the library's other listings fail.
	routes *netlink.Handle
}

// Open connects to the kernel. It must be closed.
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
	// The kernel then filters listings itself, so that a router with a full table
	// lists our routes alone. Those before 4.20 cannot; they list all.
	_ = routes.SetStrictCheck(true)
	return &Kernel{mode: mode, userspace: userspace, handle: handle, routes: routes}, nil
}

// Close ends the connection and changes nothing.
func (k *Kernel) Close() {
	k.handle.Close()
	k.routes.Close()
}

// ErrPermission says that the process may not configure the network.
var ErrPermission = errors.New("not permitted to configure the network: run as root, or with CAP_NET_ADMIN")

// explain puts the kernel's refusal into words for people.
func explain(err error) error {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return fmt.Errorf("%w (%w)", ErrPermission, err)
	}
	return err
}

// Observe reads what is in the kernel under the marks of scope.
func (k *Kernel) Observe(scope state.Scope) (state.State, error) {
	var s state.State
	link, err := k.findLink(scope.LinkName)
	if err != nil {
		return s, explain(err)
	}
	if link != nil {
		if err := k.observeLink(&s, link); err != nil {
			return s, explain(fmt.Errorf("read link %s: %w", scope.LinkName, err))
		}
	}
	for _, read := range []struct {
		what string
		from func(*state.State, state.Scope) error
	}{
		{"routes", k.observeRoutes},
		{"rules", k.observeRules},
		{"nftables", k.observeFirewall},
	} {
		if err := read.from(&s, scope); err != nil {
			return s, explain(fmt.Errorf("read %s: %w", read.what, err))
		}
	}
	s.Normalize()
	return s, nil
}

// Apply carries out a plan in order and stops at the first error. Neighbouring
// changes of peers are one message; should it fail, they are tried one by one,
// so that what could be done is. What a kernel may not be able to do is tried first.
func (k *Kernel) Apply(ctx context.Context, scope state.Scope, plan state.Plan) state.Result {
	var result state.Result
	for i, c := range plan {
		if c, is := c.(state.FirewallChange); is && i > 0 && c.Action() == state.Create {
			if err := rehearse(c.New); err != nil {
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

// changeNext carries out the first change of plan, or all peers at its head. It returns how many
// changes were made.
func (k *Kernel) changeNext(ctx context.Context, scope state.Scope, plan state.Plan) (int, error) {
	n := peersAtHead(plan)
	if n == 0 {
		return 1, k.change(ctx, plan[0])
	}
	err := k.changePeers(scope.LinkName, plan[:n])
	if err != nil && n > 1 {
		n, err = 1, k.changePeers(scope.LinkName, plan[:1])
	}
	return n, err
}

// peersAtHead returns how many changes of peers plan begins with.
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

// change carries out a change of anything but a peer.
func (k *Kernel) change(ctx context.Context, c state.Change) error {
	switch c := c.(type) {
	case state.LinkChange:
		return k.changeLink(ctx, c)
	case state.AddressChange:
		return k.changeAddress(c)
	case state.RouteChange:
		return k.changeRoute(c)
	case state.RuleChange:
		return k.changeRule(c)
	case state.FirewallChange:
		return k.changeFirewall(c)
	case state.NetworksChange:
		return k.changeNetworks(c)
	case state.ReversePathChange:
		return loosen(c)
	default:
		return fmt.Errorf("unknown change %T", c)
	}
}

// dumpTries is how often a listing that the kernel interrupted is begun again.
const dumpTries = 5

// dump lists objects. The kernel interrupts a listing whose objects change in
// the middle of it.
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

// wireguard opens the WireGuard control for one use. It is not kept, since the
// kernel's appears only with the first link.
func wireguard(use func(*wgctrl.Client) error) error {
	client, err := wgctrl.New()
	if err != nil {
		return fmt.Errorf("open the WireGuard control: %w", err)
	}
	return errors.Join(named(use(client)), client.Close())
}

// named gives an error of the userspace process, which comes as a number in a
// text, its name.
func named(err error) error {
	if err == nil {
		return nil
	}
	_, number, found := strings.Cut(err.Error(), "wguser: errno=-")
	if code, parseErr := strconv.Atoi(number); found && parseErr == nil {
		return unix.Errno(code)
	}
	return err
}
