package etcd

import "github.com/spanmesh/span/discoveryhttp/store"

// checkUpdate returns an error if there is no room for the cluster of an update.
func (s *Store) checkUpdate(cluster string, by callerID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.checkRoom(cluster, by)
}

// checkRoom returns an error if there is no room for a cluster that a caller makes, by an update
// or a watch. Those count that are in etcd, and those that are watched on this server. s.mu is
// held, also in what follows.
func (s *Store) checkRoom(cluster string, by callerID) error {
	s.usage.mu.Lock()
	defer s.usage.mu.Unlock()
	if s.usage.clusters[cluster] != nil {
		return nil
	}
	if s.mirrors[cluster] == nil && s.isFull() {
		return store.ErrTooManyClusters
	}
	if m := s.mirrors[cluster]; (m == nil || m.payer != by) && !s.hasClusterFor(by) {
		return store.ErrCallerFull
	}
	return nil
}

// isFull reports whether the limit of clusters is reached. s.usage.mu is held.
func (s *Store) isFull() bool {
	limit, clusters := s.limits.Clusters, s.usage.clusters
	if limit <= 0 || len(clusters)+len(s.mirrors) < limit {
		return false
	}
	count := len(clusters)
	for watched := range s.mirrors {
		if clusters[watched] == nil {
			count++
		}
	}
	return count >= limit
}

// hasClusterFor reports whether a caller may be charged with one more cluster: one that is in
// etcd, or one that is only watched on this server. s.usage.mu is held.
func (s *Store) hasClusterFor(by callerID) bool {
	limit := s.limits.CallerClusters
	if limit <= 0 || by == (callerID{}) {
		return true
	}
	count, watched := 0, s.charged[by]
	if known := s.usage.callers[by]; known != nil {
		count = known.clusters
	}
	if count+len(watched) < limit {
		return true
	}
	for m := range watched {
		if s.usage.clusters[m.cluster] == nil {
			count++
		}
	}
	return count < limit
}

// chargeMirror makes a caller pay for a mirror.
func (s *Store) chargeMirror(m *mirror, by callerID) {
	m.payer = by
	if s.charged[by] == nil {
		s.charged[by] = map[*mirror]struct{}{}
	}
	s.charged[by][m] = struct{}{}
}

// dischargeMirror ends the charge for a mirror.
func (s *Store) dischargeMirror(m *mirror) {
	delete(s.charged[m.payer], m)
	if len(s.charged[m.payer]) == 0 {
		delete(s.charged, m.payer)
	}
}

// settlePayer makes one of the users of a mirror pay for it, unless who pays is one. If there is
// no room for that, the charge stays where it is.
func (s *Store) settlePayer(m *mirror) {
	if m.users[m.payer] > 0 || s.mirrors[m.cluster] != m {
		return
	}
	s.usage.mu.Lock()
	defer s.usage.mu.Unlock()
	for by := range m.users {
		if s.usage.clusters[m.cluster] != nil || s.hasClusterFor(by) {
			s.dischargeMirror(m)
			s.chargeMirror(m, by)
		}
		return
	}
}
