package etcd

import (
	"fmt"
	"slices"
)

// Usage returns what the store knows of all that was written, but for when.
func (s *Store) Usage() []string {
	s.usage.mu.Lock()
	defer s.usage.mu.Unlock()
	out := []string{fmt.Sprintf("%d bytes, %d affiliates", s.usage.bytes, s.usage.affiliates)}
	for id, c := range s.usage.callers {
		out = append(out, fmt.Sprintf("caller %x: %+v", id, *c))
	}
	for cluster, c := range s.usage.clusters {
		out = append(out, fmt.Sprintf("cluster %s: %d affiliates, the oldest %q, created by %x, pin %x", cluster, c.affiliates, c.oldest, c.creator, c.pin.hash))
		for id, e := range c.entries {
			out = append(out, fmt.Sprintf("affiliate %s of %s: data %v %d, endpoints %d, caller %x", id, cluster, e.hasData, e.data, e.endpoints, e.caller))
		}
	}
	slices.Sort(out)
	return out
}
