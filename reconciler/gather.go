package reconciler

import (
	"fmt"
	"maps"

	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/schema"
)

// gathered is what config, host and discovery come to, before anything is known
// of the tunnels.
type gathered struct {
	config  *schema.Config
	version uint64

	host     mesh.Host
	identity mesh.Identity
	local    mesh.Affiliate
	// merged are all affiliates, good those of them that are used, and refused why
	// the others are not, along with those that no registry could read.
	merged, good []mesh.Affiliate
	refused      map[string]string
	specs        []mesh.PeerSpec
	overlaps     []mesh.Overlap
	preshared    map[mesh.Key]mesh.PrivateKey
	// mtu is that of the link, room the greatest that fits the links below, if there
	// are peers to reach over them.
	mtu, room int
}

// holds tells whether what was gathered still is what config and knowledge come
// to, if the host is the same.
func (g *gathered) holds(config *schema.Config, known Knowledge) bool {
	return g.config == config && g.version == known.Version && known.Version != 0
}

// gather makes the peers from the identity, the host and discovery.
func (e *Engine) gather(p *Pass, config *schema.Config, known Knowledge) error {
	kubespan := config.KubeSpan()
	host, err := e.kernel.Host(kubespan.InterfaceName)
	if err != nil {
		return fmt.Errorf("read the machine's addresses: %w", err)
	}
	identity, err := e.identify(config.Cluster.ID, host)
	if err != nil {
		return fmt.Errorf("establish the machine's identity: %w", err)
	}
	if last := e.gathered; last != nil && last.holds(config, known) && last.identity == identity && last.host.Equal(host) {
		p.gathered = *last
		p.Local = last.local
		return nil
	}
	g := gathered{config: config, version: known.Version, host: host, identity: identity, refused: map[string]string{}}
	g.local = mesh.LocalAffiliate(identity, kubespan, host, known.Seen, known.Node)
	g.merged = mesh.JoinStatic(mesh.Merge(known.Affiliates, []mesh.Affiliate{g.local}))
	g.good, g.refused = mesh.Filter(identity, g.merged)
	maps.Copy(g.refused, known.Refused)
	if kubespan.Enabled {
		g.makePeers(kubespan, known.PresharedKeys)
	}
	p.gathered, p.Local, e.gathered = g, g.local, &g
	return nil
}

func (g *gathered) makePeers(kubespan *schema.KubeSpan, presharedKeys map[mesh.Key]mesh.PrivateKey) {
	g.specs, g.overlaps = mesh.PeerSpecs(g.identity, g.good)
	for i := range g.specs {
		g.specs[i].Endpoints = mesh.Candidates(g.identity, g.host, kubespan.Filters.PeerEndpoints, g.specs[i].Endpoints)
	}
	g.preshared = mesh.PresharedKeys(g.good, presharedKeys)
	g.room = mesh.PathMTU(g.host.Links, g.specs)
	if g.mtu = int(kubespan.MTU); kubespan.MTU == schema.AutoMTU {
		g.mtu = g.room
	}
}
