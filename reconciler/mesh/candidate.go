package mesh

import (
	"fmt"
	"net/netip"
	"slices"

	"go4.org/netipx"

	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/schema"
)

// EndpointRefusal is an endpoint of a peer that this machine does not try.
type EndpointRefusal struct {
	Endpoint netip.AddrPort
	// Reason completes the sentence "the endpoint ...".
	Reason string
	// Invalid is set when no machine could use the endpoint.
	Invalid bool
}

// EndpointFilter decides which endpoints of peers this machine tries. It is safe for concurrent
// use.
type EndpointFilter struct {
	own        map[netip.Addr]bool
	broadcasts map[netip.Addr]bool
	// inside are the networks of the mesh, to which packets go through the tunnel.
	inside  []netip.Prefix
	filters []schema.Filter
	links   []Link
}

// NewEndpointFilter returns the filter of a machine.
func NewEndpointFilter(id Identity, host Host, k *schema.KubeSpan) *EndpointFilter {
	v := &EndpointFilter{own: map[netip.Addr]bool{}, broadcasts: map[netip.Addr]bool{}, inside: []netip.Prefix{id.Subnet},
		filters: k.Filters.PeerEndpoints, links: host.Links}
	for _, list := range [][]netip.Addr{host.Own, host.Addresses} {
		for _, a := range list {
			v.own[a] = true
		}
	}
	for _, a := range k.Addresses {
		v.own[a.Addr()] = true
		v.inside = append(v.inside, a.Masked())
	}
	networks := make([]netip.Prefix, 0, len(host.Connected))
	for _, c := range host.Connected {
		networks = append(networks, c.Prefix)
	}
	for _, link := range host.Links {
		networks = append(networks, link.Networks...)
	}
	for _, n := range networks {
		if n.Addr().Is4() && n.Bits() <= 30 {
			v.broadcasts[netipx.RangeOfPrefix(n).To()] = true
		}
	}
	return v
}

// excludedEndpoint is the reason of endpoints that the config's filter keeps out.
const excludedEndpoint = "is excluded by filters.peerEndpoints"

// Filter replaces the endpoints of a peer by those to try, and notes the others as refused.
func (v *EndpointFilter) Filter(peer *PeerSpec) {
	if !slices.ContainsFunc(peer.Endpoints, func(e netip.AddrPort) bool { return e.Addr().Is4In6() || v.reason(e) != "" }) &&
		len(peer.Endpoints) <= MaxEndpoints {
		return
	}
	var fit []netip.AddrPort
	for _, e := range peer.Endpoints {
		e = netip.AddrPortFrom(e.Addr().Unmap(), e.Port())
		if reason := v.reason(e); reason != "" {
			peer.Refused = append(peer.Refused, EndpointRefusal{e, reason, isInvalid(e)})
			continue
		}
		fit = append(fit, e)
	}
	peer.Endpoints = unite(nil, fit)
	if len(peer.Endpoints) > MaxEndpoints {
		ranked := Rank(v.links, netip.AddrPort{}, peer)
		for _, e := range ranked[MaxEndpoints:] {
			peer.Refused = append(peer.Refused, EndpointRefusal{e, fmt.Sprintf("is one of more than %d", MaxEndpoints), false})
		}
		peer.Endpoints = ranked[:MaxEndpoints]
	}
}

// reason returns why an endpoint is not tried; "" if it is.
func (v *EndpointFilter) reason(e netip.AddrPort) string {
	a := e.Addr()
	if reason := invalidReason(e); reason != "" {
		return reason
	}
	switch {
	case v.own[a]:
		return "is this machine's own"
	case v.broadcasts[a]:
		return "is the broadcast address of a network here"
	case slices.ContainsFunc(v.inside, func(n netip.Prefix) bool { return n.Contains(a) }):
		return "is inside the mesh"
	case !schema.Passes(v.filters, a):
		return excludedEndpoint
	default:
		return ""
	}
}

// NoPeerEndpoint returns a condition if peers have endpoints, and filters.peerEndpoints lets none of
// any peer through.
func NoPeerEndpoint(k *schema.KubeSpan, specs []PeerSpec) []condition.Condition {
	excluded := 0
	for i := range specs {
		if len(specs[i].Endpoints) > 0 {
			return nil
		}
		for _, r := range specs[i].Refused {
			if r.Reason == excludedEndpoint {
				excluded++
			}
		}
	}
	if len(k.Filters.PeerEndpoints) == 0 || excluded == 0 {
		return nil
	}
	return []condition.Condition{passesNothing("filters.peerEndpoints",
		fmt.Sprintf("none of the %d endpoints of the peers is tried: the filter lets none through", excluded))}
}

// passesNothing returns the condition of a filter that lets nothing through.
func passesNothing(filter, cause string) condition.Condition {
	return condition.Condition{Code: condition.FilterPassesNothing, Subject: filter, Cause: cause, Remedy: schema.FilterRemedy}
}

func isInvalid(e netip.AddrPort) bool { return invalidReason(e) != "" }

// invalidReason returns why no machine can use an endpoint; "" if some could.
func invalidReason(e netip.AddrPort) string {
	switch a := e.Addr(); {
	case !a.IsValid():
		return "has no address"
	case e.Port() == 0:
		return "has no port"
	case a.Zone() != "":
		return "names a link"
	default:
		return schema.SpecialMeaning(netip.PrefixFrom(a, a.BitLen()))
	}
}
