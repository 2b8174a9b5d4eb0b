package relay

// Members returns the keys of those that have joined a cluster, in no order.
func (r *Router) Members(cluster string) []Key {
	c := r.clusters[cluster]
	if c == nil {
		return nil
	}
	keys := make([]Key, 0, len(c.members))
	for k := range c.members {
		keys = append(keys, k)
	}
	return keys
}
