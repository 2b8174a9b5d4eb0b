package front

import "github.com/spanmesh/span/relay"

// Members returns those that have joined a cluster, in no order.
func (f *Front) Members(cluster string) []relay.Key {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.router.Members(cluster)
}
