package reconciler

import (
	"cmp"
	"maps"
	"slices"

	"github.com/spanmesh/span/reconciler/health"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/names"
	"github.com/spanmesh/span/schema"
)

// membersOf returns what is known of the machines of the cluster.
func (g *gathered) membersOf(config *schema.Config, known Knowledge) health.Members {
	kubespan, discovery := config.KubeSpan(), &config.Cluster.Discovery
	m := health.Members{Repeated: repeated(g.good, kubespan), Relay: health.Relay{
		Offered: kubespan.Enabled && kubespan.Relay.Forwarding.Offer, IPv6: g.host.Forwards, IPv4: g.host.ForwardsIPv4}}
	if !discovery.Enabled {
		return m
	}
	if kubespan.Enabled {
		m.Relay.Peer, m.Relay.PeerIPv4 = forwardedPeer(config)
	}
	if key, err := config.Cluster.Secret.Key(); err == nil {
		m.Cluster = mesh.Fingerprint(key, config.Cluster.ID)
	}
	// A registry in which only this machine is read says nothing about others.
	m.Answered = known.Complete && (!discovery.Registries.Service.Disabled || !discovery.Registries.Kubernetes.Disabled)
	m.Unreadable = known.Unreadable
	for i := range g.merged {
		id := g.merged[i].NodeID
		if _, unreadable := slices.BinarySearch(m.Unreadable, id); !unreadable && id != g.identity.NodeID {
			m.Others++
		}
	}
	m.Version, m.Versions = g.local.Version, g.otherVersions()
	for id := range known.Refused {
		if _, unreadable := slices.BinarySearch(m.Unreadable, id); !unreadable {
			m.Refused++
		}
	}
	return m
}

// remember keeps what the machines are that can be read, by node ID.
func (e *Engine) remember(affiliates []*mesh.Affiliate) {
	if e.remembered == nil {
		e.remembered = map[string]string{}
	}
	for _, a := range affiliates {
		if a.Static || a.Nodename == "" {
			continue
		}
		text := a.Nodename
		if len(a.Addresses) > 0 {
			text += " (" + a.Addresses[0].String() + ")"
		}
		e.remembered[a.NodeID] = text
	}
}

// maxGone is of how many machines that are gone the names are kept, beyond the number of those that are there.
const maxGone = 64

// forget drops the names of machines that are gone, once there are many. Nobody is taken to be gone before
// all registries have answered: after a change of the cluster's secret, the machines are those that cannot
// be read.
func (e *Engine) forget(affiliates []*mesh.Affiliate, unreadable []string, complete bool) {
	if !complete || len(e.remembered) <= 2*(len(affiliates)+len(unreadable))+maxGone {
		return
	}
	before := e.before(unreadable)
	clear(e.remembered)
	maps.Copy(e.remembered, before)
	e.remember(affiliates)
}

// before returns what machines were when they could be read last, by node ID.
func (e *Engine) before(ids []string) map[string]string {
	found := map[string]string{}
	for _, id := range ids {
		if text := e.remembered[id]; text != "" {
			found[id] = text
		}
	}
	return found
}

// otherVersions returns the versions of spanctl on other machines that differ from this machine's.
func (g *gathered) otherVersions() []health.Version {
	if g.local.Version == "" {
		return nil
	}
	machines := map[string]*health.Version{}
	for _, a := range g.good {
		if a.Version == "" || a.Version == g.local.Version {
			continue
		}
		v := machines[a.Version]
		if v == nil {
			v = &health.Version{Name: a.Version, First: cmp.Or(a.Nodename, a.NodeID)}
			machines[a.Version] = v
		}
		v.Machines++
	}
	var found []health.Version
	for _, name := range slices.Sorted(maps.Keys(machines)) {
		found = append(found, *machines[name])
	}
	return found
}

// labelsOf returns the labels of a machine's names in the mesh where the config asks for these, or else its
// nodename.
func labelsOf(a *mesh.Affiliate, kubespan *schema.KubeSpan) (labels []string) {
	for _, name := range []string{a.Hostname, a.Nodename} {
		if label, ok := names.Label(name); ok && kubespan.Names.Enabled && !slices.Contains(labels, label) {
			labels = append(labels, label)
		}
	}
	if len(labels) == 0 && a.Nodename != "" {
		return []string{a.Nodename}
	}
	return labels
}

// suffixedBy returns what gives each of several peers with one label a name of its own; "" where the config
// asks for no names in the mesh.
func suffixedBy(kubespan *schema.KubeSpan) func(label, nodeID string) string {
	return func(label, nodeID string) string {
		label, ok := names.Label(label)
		if !ok || !kubespan.Names.Enabled {
			return ""
		}
		return names.Suffixed(label, nodeID)
	}
}

// repeated returns the hostnames that several of the affiliates have, sorted. Two that have one
// mesh address, too, are a machine and its predecessor, or a case of condition.AddressClash. Static peers
// count where they take the names of machines in the mesh.
func repeated(affiliates []*mesh.Affiliate, kubespan *schema.KubeSpan) []health.Repeat {
	first := make(map[string]*mesh.Affiliate, len(affiliates))
	several := map[string][]string{}
	for _, a := range affiliates {
		if a.Static && !kubespan.Names.Enabled {
			continue
		}
		for _, name := range labelsOf(a, kubespan) {
			before, known := first[name]
			switch {
			case !known:
				first[name] = a
			case !before.KubeSpan.Address.IsValid() || before.KubeSpan.Address != a.KubeSpan.Address:
				several[name] = append(several[name], a.NodeID)
			}
		}
	}
	var found []health.Repeat
	for _, name := range slices.Sorted(maps.Keys(several)) {
		r := health.Repeat{Hostname: name, Machines: append([]string{first[name].NodeID}, several[name]...)}
		for _, id := range r.Machines {
			if name := suffixedBy(kubespan)(name, id); name != "" {
				r.Names = append(r.Names, name)
			}
		}
		found = append(found, r)
	}
	return found
}

// healthOfPeers returns what is known of the peers after a pass. Filtered are those to whom the
// firewall here lets no probe out, and notable is about how many have something to be said about.
func (p *Pass) healthOfPeers(filtered map[mesh.Key]bool, notable int) health.Peers {
	if p.config == nil {
		return health.Peers{}
	}
	kubespan := p.config.KubeSpan()
	all := health.Peers{Port: kubespan.ListenPort, AtRest: kubespan.PersistentKeepalive == 0, Link: p.Scope.LinkName,
		Announced: slices.Concat(p.Local.KubeSpan.Endpoints, p.Local.KubeSpan.RelayEndpoints)}
	// Peers at rest are up, directly, and not notable.
	all.Up = len(p.peers) - len(p.stepped)
	looked := p.stepped
	if len(filtered) > 0 && !p.allStepped {
		all.Up, looked = 0, nil
		for i := range p.peers {
			looked = append(looked, i)
		}
	}
	for _, i := range looked {
		c := &p.peers[i]
		if c.IsUp() || c.Relayed() {
			all.Up++
		}
		if c.IsBlind() {
			all.Blind++
		}
		if filtered[c.Key] {
			all.Filtered = append(all.Filtered, p.specs[i].Name)
		}
		if !health.Notable(c) {
			continue
		}
		relay := ""
		if c.Relayed() {
			relay = p.name(c.Relay)
		}
		if all.Notable == nil {
			all.Notable = make([]health.Peer, 0, notable)
		}
		_, ownKey := p.preshared[c.Key]
		all.Notable = append(all.Notable, health.PeerOf(p.specs[i].Name, relay, c, p.specs[i].Endpoints, ownKey))
	}
	return all
}
