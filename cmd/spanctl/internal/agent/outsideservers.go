package agent

import (
	"cmp"
	"context"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/spanmesh/span/reconciler/peer"
	"github.com/spanmesh/span/reconciler/resource"
	"github.com/spanmesh/span/schema"
)

// directly returns where the peer of a resource.PeerStatus is reached without a relay.
func directly(r resource.Resource) (endpoint netip.AddrPort, up bool) {
	s, is := r.Spec.(resource.PeerStatus)
	if !is {
		return endpoint, false
	}
	return s.Endpoint, s.State == peer.Up && s.Relay == "" && s.BlindRelay == "" && s.Endpoint.IsValid()
}

// finding are the addresses of the servers.
type finding struct {
	// hosts are what they were found for, in a network.
	hosts   []schema.STUNServer
	network int
	servers []netip.AddrPort
	// at is when they were looked for.
	at time.Time
}

// resolveRetry is the pause after which names are resolved again where none could be.
const resolveRetry = 30 * time.Second

// isDue reports whether the servers are looked for again: for each round of questions, as names may get other
// addresses, and after a pause where there are none.
func (f *finding) isDue(now time.Time, asks bool) bool {
	return asks || len(f.servers) == 0 && now.Sub(f.at) >= resolveRetry
}

// findServers finds the addresses of the servers, if they are others than before, or are to be asked.
// Where a name cannot be resolved, its server is left out; where none can, those of before stay.
func (o *outsider) findServers(ctx context.Context, now time.Time) {
	hosts := stunServers(o.turn.Config)
	same := slices.Equal(o.found.hosts, hosts) && o.found.network == o.turn.NetworkChanges
	if same && !o.found.isDue(now, o.v4.Asks(now) || o.v6.Asks(now)) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	var servers []netip.AddrPort
	for _, h := range hosts {
		addresses, err := o.addresses(ctx, h.Host)
		if err != nil {
			o.log.Debug("server of STUN not resolved", "host", h.Host, "error", err)
		}
		for _, a := range addresses {
			if s := netip.AddrPortFrom(a, h.Port); !slices.Contains(servers, s) {
				servers = append(servers, s)
			}
		}
	}
	if o.found.at = now; len(servers) == 0 && same {
		return
	}
	o.found = finding{hosts, o.turn.NetworkChanges, servers, now}
}

// addresses returns the addresses of a host that may be asked, at most perName of each IP version. They
// are sorted, since a name server may give them in any order.
func (o *outsider) addresses(ctx context.Context, host string) (chosen []netip.Addr, err error) {
	var all []netip.Addr
	if literal, err := netip.ParseAddr(host); err == nil {
		all = []netip.Addr{literal}
	} else if all, err = o.resolve(ctx, host); err != nil {
		return nil, err
	}
	for i := range all {
		all[i] = all[i].Unmap()
	}
	slices.SortFunc(all, netip.Addr.Compare)
	count := map[bool]int{}
	for _, a := range slices.Compact(all) {
		if o.isOutside(a) && count[a.Is4()] < perName {
			count[a.Is4()]++
			chosen = append(chosen, a)
		}
	}
	return chosen, nil
}

// stunServers returns the servers that a config asks for: its own, or else the discovery services.
func stunServers(config *schema.Config) []schema.STUNServer {
	if own := config.KubeSpan().NAT.Servers; len(own) > 0 {
		return own
	}
	if !config.Cluster.Discovery.Enabled {
		return nil
	}
	var servers []schema.STUNServer
	for _, text := range config.Cluster.Discovery.Registries.Service.URLs() {
		u, err := url.Parse(text)
		if err != nil {
			continue // not reached: a config has valid URLs
		}
		port, err := strconv.ParseUint(cmp.Or(u.Port(), map[string]string{"http": "80"}[u.Scheme], "443"), 10, 16)
		if err == nil {
			servers = append(servers, schema.STUNServer{Host: u.Hostname(), Port: uint16(port)})
		}
	}
	return servers
}
