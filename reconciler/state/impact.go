package state

import (
	"net/netip"

	"go4.org/netipx"
)

// Cause is why a plan interrupts traffic.
type Cause string

// The causes.
const (
	LinkRemoved Cause = "link removed"
	// LinkReplaced is a link that is deleted while another is made.
	LinkReplaced        Cause = "link replaced"
	PrivateKeyChanged   Cause = "private key changed"
	ListenPortChanged   Cause = "listen port changed"
	PeerRemoved         Cause = "peer removed"
	PresharedKeyChanged Cause = "preshared key changed"
	AllowedIPsRemoved   Cause = "allowed IPs removed"
	AddressRemoved      Cause = "address removed"
	RouteRemoved        Cause = "route removed"
	RuleRemoved         Cause = "rule removed"
	FirewallRemoved     Cause = "firewall removed"
)

// Interruption is traffic that a plan interrupts.
type Interruption struct {
	Cause Cause
	// Change is the step of the plan that interrupts it.
	Change Change
	// Networks are the networks that the peer no longer carries. Only AllowedIPsRemoved
	// has them. If another peer takes them, Change has the peer before and after, which is the same.
	Networks []netip.Prefix
}

// Impact returns what traffic the plan interrupts; none for a plan that only adds. If the
// link is removed, that is the only interruption listed: it includes all others.
func (p Plan) Impact() []Interruption {
	var interruptions []Interruption
	for _, c := range p {
		cause, networks := p.cause(c)
		switch cause {
		case "":
		case LinkRemoved, LinkReplaced:
			return []Interruption{{Cause: cause, Change: c}}
		default:
			interruptions = append(interruptions, Interruption{Cause: cause, Change: c, Networks: networks})
		}
		if c, is := c.(PeerChange); is {
			for _, taken := range c.Takes {
				interruptions = append(interruptions, Interruption{Cause: AllowedIPsRemoved, Change: PeerChange{Old: taken.From, New: taken.From}, Networks: taken.Networks})
			}
		}
	}
	return interruptions
}

// cause returns why a change interrupts traffic, "" if it does not. The networks are those of
// AllowedIPsRemoved.
func (p Plan) cause(c Change) (Cause, []netip.Prefix) {
	switch c := c.(type) {
	case LinkChange:
		return p.linkCause(c), nil
	case PeerChange:
		return peerCause(c)
	case AddressChange:
		if c.Action() == Delete {
			return AddressRemoved, nil
		}
	case RouteChange:
		again := func(other RouteChange) bool { return other.New.Destination == c.Old.Destination }
		if c.Action() == Delete && c.Old.Type == Unicast && !creates(p, again) {
			return RouteRemoved, nil
		}
	case RuleChange:
		again := func(other RuleChange) bool {
			return other.New.Family == c.Old.Family && other.New.To.IsValid() == c.Old.To.IsValid()
		}
		if c.Action() == Delete && !creates(p, again) {
			return RuleRemoved, nil
		}
	case FirewallChange:
		if c.Action() == Delete {
			return FirewallRemoved, nil
		}
	}
	return "", nil
}

// creates reports whether the plan creates an object of the kind that C changes, and that matches.
func creates[C Change](p Plan, matches func(C) bool) bool {
	for _, c := range p {
		if c, is := c.(C); is && c.Action() == Create && matches(c) {
			return true
		}
	}
	return false
}

func (p Plan) linkCause(c LinkChange) Cause {
	switch {
	case c.Action() == Delete && creates(p, func(LinkChange) bool { return true }):
		return LinkReplaced
	case c.Action() == Delete:
		return LinkRemoved
	case c.Action() == Create:
		return ""
	case c.NewPrivateKey():
		return PrivateKeyChanged
	case c.Old.ListenPort != c.New.ListenPort:
		return ListenPortChanged
	default:
		return ""
	}
}

func peerCause(c PeerChange) (Cause, []netip.Prefix) {
	switch {
	case c.Action() == Delete:
		return PeerRemoved, nil
	case c.Action() == Create:
		return "", nil
	case c.NewPresharedKey():
		return PresharedKeyChanged, nil
	}
	if lost := uncovered(c.Old.AllowedIPs, c.New.AllowedIPs); len(lost) > 0 {
		return AllowedIPsRemoved, lost
	}
	return "", nil
}

// uncovered returns the part of before that after does not contain.
func uncovered(before, after []netip.Prefix) []netip.Prefix {
	if len(Missing(before, after)) == 0 {
		return nil
	}
	var lost netipx.IPSetBuilder
	for _, network := range before {
		lost.AddPrefix(network)
	}
	for _, network := range after {
		lost.RemovePrefix(network)
	}
	set, err := lost.IPSet()
	if err != nil {
		return Missing(before, after) // not reached: allowed IPs are valid networks
	}
	return set.Prefixes()
}
