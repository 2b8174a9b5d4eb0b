package metrics

// Probes returns of how many peers the echoes are counted.
func (m *Metrics) Probes() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.probes)
}
