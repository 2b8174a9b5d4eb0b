package reconciler

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/mesh/ownership"
	"github.com/spanmesh/span/reconciler/resource"
)

// localOwner is the owner of what stays at this machine.
const localOwner = "local"

// maxListed is how many prefixes of one peer a condition names.
const maxListed = 3

func contestsByPrefix(contests []ownership.Contest) map[netip.Prefix]*ownership.Contest {
	byPrefix := make(map[netip.Prefix]*ownership.Contest, len(contests))
	for i := range contests {
		byPrefix[contests[i].Prefix] = &contests[i]
	}
	return byPrefix
}

// claimsOf returns what a peer publishes, with the owner of each prefix and the reason.
func (p *Pass) claimsOf(o *owners, key mesh.Key, contests map[netip.Prefix]*ownership.Contest) []resource.Claim {
	standings, refusals := o.table.Standings(key), o.refusals[key]
	shown := make([]resource.Claim, 0, len(standings)+len(refusals))
	pieces := map[resource.Claim]bool{} // a network of many is shown once
	for _, s := range standings {
		c := resource.Claim{Prefix: published(s.Claim), Kind: s.Rank.String(), Owner: p.nameBeside(s.Owner, key)}
		if contest := contests[s.Prefix]; contest != nil {
			c.Reason = p.explain(contest, key)
		}
		if int(s.Length) != s.Prefix.Bits() {
			if pieces[c] {
				continue
			}
			pieces[c] = true
		}
		shown = append(shown, c)
	}
	for _, r := range refusals {
		c := resource.Claim{Prefix: r.Prefix, Reason: r.Reason}
		if r.Cause == mesh.OnLink || r.Cause == mesh.CoversLAN {
			c.Owner = localOwner
		}
		shown = append(shown, c)
	}
	return shown
}

// published returns the network that a claim is a piece of.
func published(c mesh.Claim) netip.Prefix {
	return netip.PrefixFrom(c.Prefix.Addr(), int(c.Length)).Masked()
}

// explain says why a claimant has a contested prefix, or has not.
func (p *Pass) explain(contest *ownership.Contest, key mesh.Key) string {
	if contest.Owner.Key != key {
		i := slices.IndexFunc(contest.Others, func(c ownership.Contender) bool { return c.Key == key })
		if i < 0 {
			return ""
		}
		return "lost to " + p.nameBeside(contest.Owner.Key, key) + ": " + because(contest.Owner, contest.Others[i])
	}
	first := contest.Others[0]
	text := "won against " + p.nameBeside(first.Key, key) + ": " + because(contest.Owner, first)
	if more := len(contest.Others) - 1; more > 0 {
		text += fmt.Sprintf(", and against %d others", more)
	}
	return text
}

// because names the rule that decided between an owner and another claimant.
func because(owner, other ownership.Contender) string {
	switch other.Rule {
	case ownership.Longer:
		return "its network is longer"
	case ownership.Static:
		return "this machine's config gives it the prefix"
	case ownership.Rank:
		return fmt.Sprintf("to it, this is its %s, to the other its %s", owner.Rank, other.Rank)
	case ownership.ByState:
		return fmt.Sprintf("it is %s, the other %s", owner.State, other.State)
	case ownership.Present:
		return "it had the prefix before"
	case ownership.FirstSeen:
		return "it was first seen later"
	default:
		return "its key sorts first"
	}
}

// ownerConditions returns the conditions about the prefixes of peers.
func (p *Pass) ownerConditions(o *owners) []condition.Condition {
	if o.found != nil && len(p.claimants) > 0 {
		return slices.Concat(*o.found, p.clashing)
	}
	found := p.claimConditions(o)
	o.found = &found
	return slices.Concat(found, p.clashing)
}

// claimConditions returns the conditions about the prefixes that peers claim.
func (p *Pass) claimConditions(o *owners) []condition.Condition {
	var found []condition.Condition
	reported := map[netip.Prefix]bool{}
	for i := range o.contests {
		if c, is := p.contestCondition(&o.contests[i]); is && !reported[published(o.contests[i].Owner.Claim)] {
			reported[published(o.contests[i].Owner.Claim)] = true
			found = append(found, c)
		}
	}
	for _, key := range slices.SortedFunc(maps.Keys(o.refusals), mesh.Key.Compare) {
		if spec := p.spec(key); spec != nil {
			found = append(found, refusalConditions(spec.Name, p.nodeID(key), o.refusals[key])...)
		}
	}
	return found
}

// clashes returns the conditions about affiliates that are refused because they have this
// machine's address.
func (g *gathered) clashes() []condition.Condition {
	var found []condition.Condition
	for _, a := range g.merged {
		if g.refused[a.NodeID] == "" || a.KubeSpan.Address != g.identity.Address.Addr() || a.KubeSpan.PublicKey == g.identity.PublicKey {
			continue
		}
		found = append(found, condition.Condition{Code: condition.AddressClash, Subject: a.KubeSpan.Address.String(),
			Cause:  fmt.Sprintf("%s (node ID %s) has this machine's address in the mesh", cmp.Or(a.Nodename, a.NodeID), a.NodeID),
			Remedy: "give one of the two another MAC, or remove it from the cluster"})
	}
	return found
}

// contestCondition returns the condition of a prefix that several peers claim: none, if the
// others have claimed a wider network, or if it is that of a static peer which several machines may
// have.
func (p *Pass) contestCondition(contest *ownership.Contest) (condition.Condition, bool) {
	if contest.Owner.Shared || slices.ContainsFunc(contest.Others, func(c ownership.Contender) bool { return c.Shared }) {
		return condition.Condition{}, false
	}
	rivals := make([]string, 0, len(contest.Others))
	var first ownership.Contender
	clash := false
	for _, c := range contest.Others {
		if c.Rule == ownership.Longer {
			continue
		}
		if len(rivals) == 0 {
			first = c
		}
		rivals = append(rivals, p.nameOf(c.Key))
		clash = clash || c.Rank == mesh.RankMeshAddress && contest.Owner.Rank == mesh.RankMeshAddress
	}
	if len(rivals) == 0 {
		return condition.Condition{}, false
	}
	owner := p.nameOf(contest.Owner.Key)
	c := condition.Condition{Code: condition.AddressOverlap, Subject: published(contest.Owner.Claim).String(),
		Cause:  fmt.Sprintf("%s and %s claim it: %s has it, since %s", owner, listed(rivals, "and"), owner, because(contest.Owner, first)),
		Remedy: "if only one machine should have it, change advertisedNetworks or filters.excludeAdvertisedNetworks of the others"}
	if first.Rank == mesh.RankOwnAddress {
		c.Remedy = "if one was set up anew, what it was before " + expires(p.nodeID(first.Key)) + "; " +
			"otherwise exclude the address at one with filters.excludeAdvertisedNetworks"
	}
	if clash {
		c.Code, c.Subject = condition.AddressClash, contest.Prefix.Addr().String()
		c.Remedy = "if one of the two was replaced, wait until it has left; otherwise both have the same MAC: change one"
	}
	return c, true
}

// nameBeside returns the label of a peer, with its key if another peer has the same label, as a
// machine has that was set up anew.
func (p *Pass) nameBeside(key, other mesh.Key) string {
	if key != other && p.label(key) == p.label(other) {
		return p.nameOf(key)
	}
	return p.label(key)
}

// label returns the label of a peer, which others may have: its key, if it has none.
func (p *Pass) label(key mesh.Key) string {
	if spec := p.spec(key); spec != nil && spec.Label != "" {
		return spec.Label
	}
	return key.String()
}

// nameOf returns the name of a peer with the start of its key: two may have one name.
func (p *Pass) nameOf(key mesh.Key) string {
	const shown = 8
	text := key.String()
	if label := p.label(key); label != text {
		return label + " (key " + text[:shown] + "…)"
	}
	return "key " + text
}

// listed joins the first texts of a list, and says how many more there are.
func listed(texts []string, word string) string {
	if more := len(texts) - maxListed; more > 0 {
		texts = append(slices.Clone(texts[:maxListed]), fmt.Sprintf("%d more", more))
	}
	if n := len(texts) - 1; n > 0 && word == "and" {
		return strings.Join(texts[:n], ", ") + " and " + texts[n]
	}
	return strings.Join(texts, word)
}

// refusalConditions returns the conditions about what a peer does not get: one of each code.
func refusalConditions(peer, nodeID string, refusals []mesh.Refusal) []condition.Condition {
	causes, remedies := map[condition.Code][]string{}, map[condition.Code][]string{}
	for _, r := range refusals {
		if code := codeOf(r.Cause); code != "" {
			causes[code] = append(causes[code], r.Prefix.String()+" "+r.Reason)
			if remedy := remedyOf(r.Cause, nodeID); !slices.Contains(remedies[code], remedy) {
				remedies[code] = append(remedies[code], remedy)
			}
		}
	}
	var found []condition.Condition
	for _, code := range []condition.Code{condition.AddressRefused, condition.AddressOnLink, condition.NetworkCoversLAN} {
		if list := causes[code]; len(list) > 0 {
			found = append(found, condition.Condition{Code: code, Subject: peer, Cause: listed(list, "; "), Remedy: strings.Join(remedies[code], "; ")})
		}
	}
	return found
}

// nodeID returns the node ID of a peer; "" if it is static, or none.
func (p *Pass) nodeID(key mesh.Key) string {
	i := slices.IndexFunc(p.claimants, func(a *mesh.Affiliate) bool { return a.KubeSpan.PublicKey == key })
	if i < 0 || p.claimants[i].Static {
		return ""
	}
	return p.claimants[i].NodeID
}

// expires says how a machine with a node ID leaves discovery that does not come back.
func expires(nodeID string) string {
	if nodeID == "" {
		return "expires within 30 minutes"
	}
	return "expires within 30 minutes, or with `spanctl discovery rm " + nodeID + "`"
}

func codeOf(cause mesh.RefusalCause) condition.Code {
	switch cause {
	case mesh.Invalid, mesh.OwnHere, mesh.DefaultRoute:
		return condition.AddressRefused
	case mesh.OnLink:
		return condition.AddressOnLink
	case mesh.CoversLAN:
		return condition.NetworkCoversLAN
	default:
		return "" // the config asks for it
	}
}

func remedyOf(cause mesh.RefusalCause, nodeID string) string {
	switch cause {
	case mesh.OwnHere:
		return "if this machine was set up anew, what it was before " + expires(nodeID) + "; " +
			"otherwise exclude the address at the peer with filters.excludeAdvertisedNetworks"
	case mesh.DefaultRoute:
		return "to use it, include it in filters.peerNetworks of this machine; otherwise change what the peer advertises"
	case mesh.OnLink:
		return "if the peer is in that network, name it in routeConnectedNetworks; otherwise exclude the address at the peer with filters.excludeAdvertisedNetworks"
	case mesh.CoversLAN:
		return "to route it through the mesh all the same, name it in routeConnectedNetworks; otherwise narrow what the peer advertises"
	default:
		return "change what the peer advertises"
	}
}
