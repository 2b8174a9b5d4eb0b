package reconciler

import (
	"fmt"
	"maps"

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

	host     mesh.Host
	identity mesh.Identity
	// outside is Knowledge.Outside.
	outside mesh.Outside
	// announcing is what is wrong with what the machine announces, and with what it takes of peers.
	announcing []condition.Condition
	// local is this machine's affiliate.
	local mesh.Affiliate
	// merged are all affiliates, with the local one.
	merged []mesh.Affiliate
	// good are the merged affiliates that are used.
	good []mesh.Affiliate
	// refused are the reasons why others are not used, by node ID. Affiliates that a registry
	// could not decode are among them.
	refused map[string]string
	// claimants are the affiliates that are peers, sorted by key.
	claimants []*mesh.Affiliate
	// specs are the specs of claimants, in their order.
	specs []mesh.PeerSpec
	// withoutAgent is set when one of them is of a machine without an agent.
	withoutAgent bool
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
	if last := e.gathered; last != nil && last.holds(config, known) && last.identity == identity && last.host.Equal(host) && last.host.SameTerritory(host) {
		p.gathered = *last
		p.Local = last.local
		return nil
	}
	g := gathered{config: config, version: known.Version, host: host, identity: identity, outside: known.Outside, refused: map[string]string{}}
	g.local, g.announcing = mesh.LocalAffiliate(identity, kubespan, host, known.Seen, known.Outside, known.Node)
	e.identifySelf(&g.local)
	g.merged = mesh.JoinStatic(mesh.Merge(known.Affiliates, []mesh.Affiliate{g.local}))
	g.good, g.refused = mesh.Filter(identity, g.merged, e.owners.present(live))
	maps.Copy(g.refused, known.Refused)
	if kubespan.Enabled {
		if kubespan.Relay.UsesBlind() {
			g.relays = usableRelays(identity.PublicKey, known.Relays)
			g.separateRelays(e.wasUp)
		}
		g.refuseKeysOf(e.provenRelays())
		g.makePeers(kubespan, known.PresharedKeys)
		if kubespan.Relay.Offer {
			g.admitted = admit(g.claimants, known.Complete)
		}
		if kubespan.Relay.UsesBlind() {
			g.offered = mesh.OfferedRelays(identity.PublicKey, host.Links, mesh.NewEndpointFilter(identity, host, kubespan), g.specs)
		}
	}
	g.invalid, g.clashing = invalidEndpoints(g.specs), g.clashes()
	g.members = g.membersOf(config, known)
	e.remember(g.good)
	g.members.Before = e.before(g.members.Unreadable)
	p.gathered, p.Local, e.gathered = g, g.local, &g
	return nil
}

// makePeers makes the specs of the peers from the good affiliates.
func (g *gathered) makePeers(kubespan *schema.KubeSpan, presharedKeys map[mesh.Key]mesh.PrivateKey) {
	g.claimants = mesh.Peers(g.identity, g.good)
	g.specs = mesh.PeerSpecs(g.claimants)
	mesh.NamePeers(g.specs, g.local.Nodename)
	g.territory = mesh.NewTerritory(g.identity, g.host, kubespan, g.local.KubeSpan.AdditionalAddresses)
	filter := mesh.NewEndpointFilter(g.identity, g.host, kubespan)
	for i := range g.specs {
		filter.Filter(&g.specs[i])
		g.withoutAgent = g.withoutAgent || g.specs[i].WithoutAgent
	}
	g.announcing = append(g.announcing, mesh.NoPeerEndpoint(kubespan, g.specs)...)
	g.preshared = mesh.PresharedKeys(g.good, presharedKeys)
	g.maxMTU = mesh.PathMTU(g.host.Links, g.specs)
	if g.mtu = int(kubespan.MTU); kubespan.MTU == schema.AutoMTU {
		g.mtu = g.maxMTU
	}
}
