package state

import (
	"net/netip"
	"slices"

	"github.com/spanmesh/span/reconciler/mesh"
)

// Action is what a change does to its object.
type Action string

// The actions.
const (
	Create Action = "create"
	Update Action = "update"
	Delete Action = "delete"
)

// Change is one step of a plan. It is a LinkChange, PeerChange, AddressChange,
// RouteChange, RuleChange, FirewallChange, NetworksChange, ReversePathChange or IPv6Change.
//
// Most have the object before and after. A zero Old means that the change creates
// the object, a zero New that it deletes it.
type Change interface {
	// Action returns what the change does to its object.
	Action() Action
	// isChange keeps the set of changes closed, so that a switch over them can be complete.
	isChange()
}

// Plan is the ordered list of changes that lead from the live state to the
// desired one.
type Plan []Change

// Result is how far a plan was carried out.
type Result struct {
	// Done are the changes that were made.
	Done Plan
	// NotDone are the changes that were not made, in the plan's order.
	NotDone Plan
	// Failed is the change that Err is about: the first of NotDone, or one that failed its
	// check before anything was changed. It is nil without an error.
	Failed Change
	// Err is the error that stopped the plan; nil if all changes were made.
	Err error
}

// LinkChange is a change of the WireGuard link or of its device's settings.
type LinkChange struct{ Old, New Link }

// PeerChange is a change of a WireGuard peer.
type PeerChange struct {
	Old, New Peer
	// Takes are the networks that it takes from peers that keep a network around each.
	Takes []Taken
}

// Taken are networks that a peer carries until a more precise network of another peer has them.
type Taken struct {
	From     Peer
	Networks []netip.Prefix
}

// AddressChange adds an address to a link or removes one.
type AddressChange struct{ Old, New Address }

// RouteChange is a change of a route.
type RouteChange struct{ Old, New Route }

// RuleChange adds a routing rule or removes one.
type RuleChange struct{ Old, New Rule }

// FirewallChange replaces both nftables tables as a whole, and those of earlier names, in one
// transaction.
type FirewallChange struct{ Old, New Firewall }

// NetworksChange changes only the routed networks of an nftables table, and of its guard in the
// same transaction.
type NetworksChange struct {
	Table string
	// Guard is the name of the second table; "" if only Table changes.
	Guard          string
	Added, Removed []netip.Prefix
}

// ReversePathChange loosens the kernel's check of the source of packets from a link
// (rp_filter).
type ReversePathChange struct{ Link string }

// Address is an address on a link.
type Address struct {
	netip.Prefix
	Link string
}

// Action implements Change.
func (c LinkChange) Action() Action { return action(c.Old.Name == "", c.New.Name == "") }

// Action implements Change.
func (c PeerChange) Action() Action {
	return action(c.Old.PublicKey.IsZero(), c.New.PublicKey.IsZero())
}

// Action implements Change.
func (c AddressChange) Action() Action { return action(!c.Old.IsValid(), !c.New.IsValid()) }

// Action implements Change.
func (c RouteChange) Action() Action { return action(c.Old == Route{}, c.New == Route{}) }

// Action implements Change.
func (c RuleChange) Action() Action { return action(c.Old == Rule{}, c.New == Rule{}) }

// Action implements Change.
func (c FirewallChange) Action() Action { return action(!c.Old.exists(), !c.New.exists()) }

// Action implements Change.
func (NetworksChange) Action() Action { return Update }

// Action implements Change.
func (ReversePathChange) Action() Action { return Update }

// Action implements Change.
func (IPv6Change) Action() Action { return Update }

func action(noOld, noNew bool) Action {
	switch {
	case noOld:
		return Create
	case noNew:
		return Delete
	default:
		return Update
	}
}

func (LinkChange) isChange()        {}
func (PeerChange) isChange()        {}
func (AddressChange) isChange()     {}
func (RouteChange) isChange()       {}
func (RuleChange) isChange()        {}
func (FirewallChange) isChange()    {}
func (NetworksChange) isChange()    {}
func (ReversePathChange) isChange() {}
func (IPv6Change) isChange()        {}

// IPv6Change enables IPv6 on a link (disable_ipv6, of the kernel's ip-sysctl documentation).
type IPv6Change struct{ Link string }

// Renames reports whether the change gives a link its name back.
func (c LinkChange) Renames() bool { return c.Action() == Update && c.Old.Name != c.New.Name }

// NewPrivateKey reports whether the change sets another private key. Keys with the same public
// half are the same: the kernel clamps a key (RFC 7748) when it takes it.
func (c LinkChange) NewPrivateKey() bool {
	return c.Old.PrivateKey != c.New.PrivateKey && c.Old.PrivateKey.Public() != c.New.PrivateKey.Public()
}

// ResetsDevice reports whether the change gives a device that exists another key, port or
// firewall mark, or sets it up. Peers then have to learn this machine's endpoint again.
func (c LinkChange) ResetsDevice() bool {
	return c.Action() == Update && (c.NewPrivateKey() || c.Old.ListenPort != c.New.ListenPort ||
		c.Old.FirewallMark != c.New.FirewallMark || c.Old.Up != c.New.Up)
}

// NewPresharedKey reports whether the change sets another preshared key, or none in place of one.
func (c PeerChange) NewPresharedKey() bool { return c.Old.PresharedKey != c.New.PresharedKey }

// NewKeepalive reports whether the change sets another keepalive interval, or turns it off.
func (c PeerChange) NewKeepalive() bool { return c.Old.Keepalive != c.New.Keepalive }

// NewAllowedIPs reports whether the change sets other allowed IPs.
func (c PeerChange) NewAllowedIPs() bool { return !slices.Equal(c.Old.AllowedIPs, c.New.AllowedIPs) }

// NewEndpoint reports whether the change sets another endpoint. A live endpoint stays
// unless the desired peer has Redirect, since it may have roamed.
func (c PeerChange) NewEndpoint() bool { return newEndpoint(&c.Old, &c.New) }

func newEndpoint(live, desired *Peer) bool {
	return desired.Endpoint.IsValid() && desired.Endpoint != live.Endpoint && (desired.Redirect || !live.Endpoint.IsValid())
}

// differs reports whether the change sets anything.
func (c LinkChange) differs() bool {
	before, after := c.Old, c.New
	before.PrivateKey, after.PrivateKey = mesh.PrivateKey{}, mesh.PrivateKey{}
	return before != after || c.NewPrivateKey()
}

// unlike reports whether a live peer is to be changed.
func unlike(live, desired *Peer) bool {
	return live.PresharedKey != desired.PresharedKey || live.Keepalive != desired.Keepalive ||
		newEndpoint(live, desired) || !slices.Equal(live.AllowedIPs, desired.AllowedIPs)
}
