package wgdevice

import "bytes"

// memo has the bytes that a value was made of. Bytes are compared as they come, and replace the old
// ones from the first difference on.
type memo struct {
	raw []byte
	// at is how many bytes this reading has had.
	at int
	// stale is set until the value is made of raw.
	stale bool
}

func (m *memo) begin() { m.at = 0 }

func (m *memo) add(b []byte) {
	if bytes.HasPrefix(m.raw[m.at:], b) {
		m.at += len(b)
		return
	}
	m.raw = append(m.raw[:m.at], b...)
	m.at, m.stale = len(m.raw), true
}

// end reports whether the value must be made anew. The reading may have had fewer bytes than the
// last one.
func (m *memo) end() bool {
	if m.at < len(m.raw) {
		m.raw, m.stale = m.raw[:m.at], true
	}
	return m.stale
}
