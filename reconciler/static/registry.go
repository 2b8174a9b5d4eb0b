package static

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/health"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/schema"
)

// Driver opens the registry of a config that describes peers.
func Driver() reconciler.Driver {
	return reconciler.Driver{Name: "static", Settings: settings, Open: open}
}

func settings(config *schema.Config) any {
	discovery := config.Cluster.Discovery
	if !discovery.Enabled || len(discovery.Registries.Static.Peers) == 0 {
		return nil
	}
	return discovery.Registries.Static
}

// registry has the peers of one config.
type registry struct {
	affiliates    []*mesh.Affiliate
	presharedKeys map[mesh.Key]mesh.PrivateKey
}

func open(o reconciler.RegistryOptions) (reconciler.Registry, error) {
	r := &registry{presharedKeys: map[mesh.Key]mesh.PrivateKey{}}
	for _, p := range o.Config.Cluster.Discovery.Registries.Static.Peers {
		r.affiliates = append(r.affiliates, affiliateOf(p))
		if p.PresharedKey.IsZero() {
			continue
		}
		key, err := p.PresharedKey.Key()
		if err != nil {
			return nil, fmt.Errorf("cluster.discovery.registries.static.peers: presharedKey of %s %w", p.Name, err)
		}
		r.presharedKeys[mesh.Key(p.PublicKey)] = mesh.SecretKey(key)
	}
	slices.SortFunc(r.affiliates, func(a, b *mesh.Affiliate) int { return cmp.Compare(a.NodeID, b.NodeID) })
	return r, nil
}

func affiliateOf(p schema.StaticPeer) *mesh.Affiliate {
	return &mesh.Affiliate{
		NodeID:    mesh.StaticID(p.Name),
		Nodename:  p.Name,
		Hostname:  p.Name,
		Addresses: addresses(p.AllowedIPs),
		KubeSpan:  mesh.KubeSpan{PublicKey: mesh.Key(p.PublicKey), AdditionalAddresses: p.AllowedIPs, Endpoints: p.Endpoints},
		Static:    true, Shared: p.Advertise,
	}
}

// addresses returns the networks that are a single address.
func addresses(networks []netip.Prefix) []netip.Addr {
	var out []netip.Addr
	for _, n := range networks {
		if n.IsSingleIP() {
			out = append(out, n.Addr())
		}
	}
	return out
}

// Run implements reconciler.Registry. The peers of a config never change.
func (r *registry) Run(context.Context) {}

// Fetch implements reconciler.Registry.
func (r *registry) Fetch(context.Context) error { return nil }

// Snapshot implements reconciler.Registry.
func (r *registry) Snapshot() reconciler.Snapshot {
	return reconciler.Snapshot{Affiliates: slices.Clone(r.affiliates), PresharedKeys: maps.Clone(r.presharedKeys), Complete: true}
}

// Sessions implements reconciler.Registry. A config is not connected to.
func (r *registry) Sessions() []health.Session { return nil }

// Publish implements reconciler.Registry.
func (r *registry) Publish(reconciler.Publication) {}

// Announce implements reconciler.Registry.
func (r *registry) Announce(context.Context, mesh.Affiliate) error { return reconciler.ErrReadOnly }

// Leave implements reconciler.Registry.
func (r *registry) Leave(context.Context) error { return nil }

// NetworkChanged implements reconciler.Registry.
func (r *registry) NetworkChanged() {}

// Cache implements reconciler.Registry. The config has all of it, and its secrets are not
// written elsewhere.
func (r *registry) Cache() ([]byte, error) { return nil, nil }
