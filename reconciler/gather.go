package reconciler

import (
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/health"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/state"
	"github.com/spanmesh/span/schema"
)

// gathered is everything that depends on config, host and discovery only.
type gathered struct {
	config *schema.Config
	// version is Knowledge.Version.
	version uint64
	// known is what registries know.
	known Knowledge
	// id is another number whenever anything else is another one.
	id uint64
	// inheritedFrom is the id of the gathering whose peers were reused; 0 for none.
	inheritedFrom uint64
	// patchable is what isPatchable returns.
	patchable bool
	// configured are the keys of static peers, which may be joined with affiliates.
	configured map[mesh.Key]bool
	// joinable are the relays of registries, and proven those that no machine has the keys of.
	joinable []mesh.BlindRelay
	proven   map[mesh.Key]string

	host     mesh.Host
	identity mesh.Identity
	// outside is Knowledge.Outside.
	outside mesh.Outside
	// announcing is what is wrong with what the machine announces, and with what it takes of peers.
	announcing []condition.Condition
	// local is this machine's affiliate.
	local mesh.Affiliate
	// merged are all affiliates, with the local one.
	merged []*mesh.Affiliate
	// good are the merged affiliates that are used.
	good []*mesh.Affiliate
	// refused are the reasons why others are not used, by node ID. Affiliates that a registry
	// could not decode are among them.
	refused map[string]string
	// claimants are the affiliates that are peers, sorted by key.
	claimants []*mesh.Affiliate
	// specs are the specs of claimants, in their order.
	specs []mesh.PeerSpec
	// withoutAgent is set when one of them is of a machine without an agent.
	withoutAgent bool
	// unreachable is the condition of a filter that lets no endpoint of any peer through, and endpoints
	// is that filter.
	unreachable []condition.Condition
	endpoints   *mesh.EndpointFilter
	// territory is what stays at this machine whatever peers claim.
	territory *mesh.Territory
	// preshared are the preshared keys of the peers that do not use the cluster secret.
	preshared map[mesh.Key]mesh.PrivateKey
	// mtu is the MTU of the mesh link in bytes.
	mtu int
	// maxMTU is the largest MTU that fits the links to the peers.
	maxMTU int
	// invalid are the conditions of endpoints that no machine can use, and clashing those of machines with
	// this one's address.
	invalid, clashing []condition.Condition
	// relays are the blind relays of the machine, and offered those that members are.
	relays, offered []mesh.BlindRelay
	// admitted are the machines for which a relay on this one carries packets.
	admitted Admitted
	// members is what is known of the machines of the cluster.
	members health.Members
}

// holds reports whether g is up to date for config and knowledge, provided that the host
// has not changed.
func (g *gathered) holds(config *schema.Config, known Knowledge) bool {
	return g.config == config && g.version == known.Version && known.Version != 0
}

// gather makes the specs of the peers. If nothing has changed, it takes those of the last
// pass.
func (e *Engine) gather(p *Pass, config *schema.Config, known Knowledge, live []state.Peer) error {
	kubespan := config.KubeSpan()
	host, err := e.kernel.Host(kubespan.InterfaceName, kubespan.Filters.ChoosesLink)
	if err != nil {
		return fmt.Errorf("read the machine's addresses: %w", err)
	}
	identity, err := e.identify(config.Cluster.ID, host)
	if err != nil {
		return fmt.Errorf("establish the machine's identity: %w", err)
	}
	if e.regather(p, config, known, host, identity) {
		p.gathered, p.Local = *e.gathered, e.gathered.local
		return nil
	}
	e.gatherings++
	g := gathered{config: config, version: known.Version, known: known, id: e.gatherings, host: host, identity: identity,
		outside: known.Outside, refused: map[string]string{}, proven: e.provenRelays()}
	g.local, g.announcing = mesh.LocalAffiliate(identity, kubespan, host, known.Seen, known.Outside, known.Node)
	e.identifySelf(&g.local)
	local := g.local
	g.merged = mesh.JoinStatic(mesh.Merge(known.Affiliates, []*mesh.Affiliate{&local}))
	g.good, g.refused = mesh.Filter(identity, g.merged, e.owners.present(live))
	maps.Copy(g.refused, known.Refused)
	if kubespan.Enabled {
		e.gatherPeers(p, &g, kubespan)
	}
	g.invalid, g.clashing = invalidEndpoints(g.specs), g.clashes()
	g.members = g.membersOf(config, known)
	e.remember(g.good)
	e.forget(g.good, g.members.Unreadable, known.Complete)
	g.members.Before = e.before(g.members.Unreadable)
	g.configured = staticKeys(known.Affiliates)
	g.patchable = g.isPatchable()
	if last := e.gathered; p.overAll && last != nil && last.holds(config, known) && last.matches(&g) {
		last.replaceSummaries(&g)
		p.gathered, p.Local = *last, last.local
		return nil
	}
	p.gathered, p.Local, e.gathered = g, g.local, &g
	return nil
}

// matches reports whether g, which was changed with its affiliates, is what was gathered anew.
func (g *gathered) matches(anew *gathered) bool {
	return g.identity == anew.identity && g.host.Equal(anew.host) && g.host.SameTerritory(anew.host) && g.mtu == anew.mtu && g.maxMTU == anew.maxMTU &&
		g.withoutAgent == anew.withoutAgent && maps.Equal(g.refused, anew.refused) && reflect.DeepEqual(g.offered, anew.offered) &&
		slices.EqualFunc(g.merged, anew.merged, (*mesh.Affiliate).Equal) &&
		slices.EqualFunc(g.specs, anew.specs, func(a, b mesh.PeerSpec) bool {
			a.AllowedIPs, b.AllowedIPs = nil, nil // package ownership decides on these
			return a.Equal(&b)
		})
}

// replaceSummaries replaces what depends on all affiliates, by what was gathered anew.
func (g *gathered) replaceSummaries(anew *gathered) {
	g.members, g.admitted, g.preshared, g.configured, g.patchable = anew.members, anew.admitted, anew.preshared, anew.configured, anew.patchable
	g.announcing, g.unreachable, g.invalid, g.clashing = anew.announcing, anew.unreachable, anew.invalid, anew.clashing
}

// regather reports whether what the last pass has gathered holds, or could be changed so that it does.
func (e *Engine) regather(p *Pass, config *schema.Config, known Knowledge, host mesh.Host, identity mesh.Identity) (ok bool) {
	last := e.gathered
	if last == nil || last.identity != identity || !last.host.Equal(host) || !last.host.SameTerritory(host) {
		return false
	}
	if p.overAll {
		return false
	}
	if last.holds(config, known) {
		return true
	}
	if e.planning {
		return false
	}
	p.patched, ok = e.patch(config, known)
	return ok
}

// gatherPeers gathers what there is where the mesh is enabled.
func (e *Engine) gatherPeers(p *Pass, g *gathered, kubespan *schema.KubeSpan) {
	if kubespan.Relay.UsesBlind() {
		g.joinable = usableRelays(g.identity.PublicKey, g.known.Relays)
		g.relays = g.joinable
		g.separateRelays(e.wasUp)
	}
	g.refuseKeysOf(g.proven)
	g.makePeers(kubespan, g.known.PresharedKeys)
	if p.overAll || e.planning {
		g.inherit(nil)
	} else {
		g.inherit(e.gathered)
		p.last = e.gathered
	}
	if kubespan.Relay.Offer {
		g.admitted = admit(g.claimants, g.known.Complete)
	}
	if kubespan.Relay.UsesBlind() {
		g.offered = mesh.OfferedRelays(g.identity.PublicKey, g.host.Links, g.endpoints, g.specs)
	}
}

// makePeers makes the specs of the peers from the good affiliates.
func (g *gathered) makePeers(kubespan *schema.KubeSpan, presharedKeys map[mesh.Key]mesh.PrivateKey) {
	g.claimants = mesh.Peers(g.identity, g.good)
	g.specs = mesh.PeerSpecs(g.claimants)
	mesh.NamePeers(g.specs, g.local.Nodename, suffixedBy(kubespan))
	g.territory = mesh.NewTerritory(g.identity, g.host, kubespan, g.local.KubeSpan.AdditionalAddresses)
	g.endpoints = mesh.NewEndpointFilter(g.identity, g.host, kubespan)
	for i := range g.specs {
		g.endpoints.Filter(&g.specs[i])
		g.withoutAgent = g.withoutAgent || g.specs[i].WithoutAgent
	}
	g.unreachable = mesh.NoPeerEndpoint(kubespan, g.specs)
	g.preshared = mesh.PresharedKeys(g.good, presharedKeys)
	g.setMTU(kubespan)
}

func (g *gathered) setMTU(kubespan *schema.KubeSpan) {
	g.maxMTU = mesh.PathMTU(g.host.Links, g.specs)
	if g.mtu = int(kubespan.MTU); kubespan.MTU == schema.AutoMTU {
		g.mtu = g.maxMTU
	}
}
