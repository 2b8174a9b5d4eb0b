package store

import "net/netip"

// caller is an address that affiliates and clusters are charged to.
type caller struct {
	address netip.Addr
	// bytes and clusters are what it is charged with, with what is staged.
	bytes    int64
	clusters int
}

// callerAt returns the caller at an address, nil for an invalid one.
func (m *Memory) callerAt(address netip.Addr) *caller {
	if !address.IsValid() {
		return nil
	}
	if c := m.callers[address]; c != nil {
		return c
	}
	return &caller{address: address}
}

// charge adds to what a caller is charged with. c may be nil.
func (m *Memory) charge(c *caller, bytes int64, clusters int) {
	if c == nil {
		return
	}
	c.bytes += bytes
	c.clusters += clusters
	if c.bytes == 0 && c.clusters == 0 {
		delete(m.callers, c.address)
	} else {
		m.callers[c.address] = c
	}
}

// hasClusterFor reports whether a caller, nil for nobody, may be charged with one more cluster.
func (m *Memory) hasClusterFor(c *caller) bool {
	return c == nil || m.limits.CallerClusters <= 0 || c.clusters < m.limits.CallerClusters
}

// chargeFor charges a caller for a cluster, in the place of who was: on behalf of a watcher, or
// of an update if that is nil.
func (m *Memory) chargeFor(c *cluster, by *caller, payer *Watcher) {
	m.charge(c.creator, 0, -1)
	c.creator, c.payer = by, payer
	m.charge(by, 0, 1)
}

// chargeReader charges one who watches a cluster for it, unless who is charged does so. If there
// is no room for that, the charge stays where it is.
func (m *Memory) chargeReader(c *cluster) {
	if _, watches := c.watchers[c.payer]; watches {
		return
	}
	for w, r := range c.watchers {
		if by := m.callerAt(r.caller); by == c.creator || m.hasClusterFor(by) {
			m.chargeFor(c, by, w)
		}
		return
	}
}

// account counts an entry of a cluster that replaces another. Either may be nil.
func (m *Memory) account(c *cluster, before, after *entry) {
	m.bytes += after.cost() - before.cost()
	if before != nil {
		c.count--
		m.affiliates--
		m.endpoints -= len(before.lives)
		if !before.hasData() {
			c.dataless--
		}
		m.charge(before.caller, -before.cost(), 0)
	}
	if after != nil {
		c.count++
		m.affiliates++
		m.endpoints += len(after.lives)
		if !after.hasData() {
			c.dataless++
		}
		m.charge(after.caller, after.cost(), 0)
	}
}

// checkRoom returns an error if an entry that replaces another exceeds a limit of bytes. It
// moves the charge to a caller that has room for it. An entry that does not grow is always
// taken.
func (m *Memory) checkRoom(before, after *entry, u Update) error {
	growth := after.cost() - before.cost()
	if growth > 0 && m.limits.Bytes > 0 && m.bytes+growth > m.limits.Bytes {
		return ErrFull
	}
	if before == nil || u.Data != nil {
		to := m.callerAt(u.Caller)
		if to == after.caller || m.fits(to, after.cost()) {
			after.caller = to
			if before == nil || to != before.caller {
				return nil
			}
		} else if before == nil {
			return ErrCallerFull
		}
	}
	if growth > 0 && !m.fits(after.caller, growth) {
		return ErrCallerFull
	}
	return nil
}

// fits reports whether a caller may be charged with more bytes. It gets no more than what is
// left for all others, so that the store has room for a small caller even when large ones
// have filled it.
func (m *Memory) fits(c *caller, bytes int64) bool {
	if c == nil {
		return true
	}
	after := c.bytes + bytes
	return (m.limits.CallerBytes <= 0 || after <= m.limits.CallerBytes) && (m.limits.Bytes <= 0 || after <= m.limits.Bytes-m.bytes)
}
