package relay

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/spanmesh/span/relay/wireguard"
)

const (
	// saveMagic begins what is saved; the last byte is the version.
	saveMagic = "span relay\x03"
	// noEnd is instead of an end's number.
	noEnd = ^uint32(0)
)

// saver appends numbers; all times are what is left of them.
type saver struct {
	b   []byte
	now instant
	// numbers are those of the ends that are saved.
	numbers map[*end]int
}

func (s *saver) u32(n int)          { s.b = binary.BigEndian.AppendUint32(s.b, uint32(n)) }
func (s *saver) u64(n uint64)       { s.b = binary.BigEndian.AppendUint64(s.b, n) }
func (s *saver) key(k Key)          { s.b = append(s.b, k[:]...) }
func (s *saver) left(until instant) { s.u64(uint64(max(0, until-s.now))) }

func (s *saver) short(b []byte) {
	s.b = binary.BigEndian.AppendUint16(s.b, uint16(len(b)))
	s.b = append(s.b, b...)
}

func (s *saver) flag(is bool) {
	if is {
		s.b = append(s.b, 1)
	} else {
		s.b = append(s.b, 0)
	}
}

func (s *saver) end(e *end) {
	n, ok := s.numbers[e]
	if !ok {
		s.b = binary.BigEndian.AppendUint32(s.b, noEnd)
		return
	}
	s.u32(n)
}

// keep numbers the ends that another process can have: not those at a stream, which ends with this
// one, unless they are a member's.
func (s *saver) keep(all []*end) (kept []*end) {
	s.numbers = map[*end]int{}
	for _, e := range all {
		if e.member != nil || e.source.Stream == 0 {
			s.numbers[e] = len(kept)
			kept = append(kept, e)
		}
	}
	return kept
}

func (s *saver) source(from Source, located bool) {
	located = located && from.Stream == 0 // A stream ends with the process.
	s.flag(located)
	if located {
		b, _ := from.Addr.MarshalBinary()
		s.short(b)
	}
}

// Save returns what Restore takes. It has the keys of the sessions with the relay: it is a secret. Its size
// is bounded by the router's limits alone; see Limits.Memory.
func (r *Router) Save(now time.Time) []byte {
	return r.save(now, r.ends, true)
}

// SaveMembers returns what Restore takes, with the members alone: where they are and their sessions
// with the relay are left out. It is for a process that may end at any time: Restore would use a
// session's counters twice.
func (r *Router) SaveMembers(now time.Time) []byte { return r.save(now, nil, false) }

func (r *Router) save(now time.Time, of []*end, sessions bool) []byte {
	r.tick(now)
	s := &saver{b: []byte(saveMagic), now: r.now}
	s.key(r.PublicKey())
	s.u64(uint64(now.UnixNano()))
	table := r.table
	if !sessions {
		table = [tableSize]byte{}
	}
	s.b = append(s.b, table[:]...)
	ends := s.keep(of)
	s.u32(len(ends))
	for _, e := range ends {
		s.source(e.source, e.located)
	}
	s.u32(len(r.members))
	for _, m := range r.members {
		s.member(m, sessions)
	}
	s.u32(len(r.clusters))
	for _, c := range r.clusters {
		s.short([]byte(c.name))
		s.u32(len(c.foreign))
		for _, f := range c.foreign {
			s.key(f.key)
			s.short(f.from.AsSlice())
			s.left(f.until)
			s.end(f.end)
		}
	}
	for _, e := range ends {
		s.flows(e)
	}
	return s.b
}

func (s *saver) member(m *member, sessions bool) {
	s.key(m.key)
	s.short(m.from.AsSlice())
	s.b = append(s.b, m.timestamp[:]...)
	s.end(m.end)
	s.u32(len(m.until))
	for c, until := range m.until {
		s.short([]byte(c.name))
		s.left(until)
	}
	if !sessions {
		s.u32(0)
		return
	}
	s.u32(len(m.sessions))
	for _, n := range m.sessions {
		state := n.State()
		s.u32(int(state.Local))
		s.u32(int(state.Remote))
		s.key(state.ReceiveKey)
		s.key(state.SendKey)
		s.u64(state.NextReceive)
		s.u64(state.NextSend)
		s.left(n.made + wireguard.RejectAfterTime)
		s.source(n.to, true)
		s.flag(n.confirmed)
		s.flag(n.proven)
	}
}

func (s *saver) flows(e *end) {
	// In the order of handshakes, which is that in which pairs are tried.
	at, n := len(s.b), 0
	s.u32(0)
	for p := e.oldest; p != nil; p = p.newer {
		if _, kept := s.numbers[p.to]; !kept {
			continue
		}
		for i, f := range e.flowsTo(p) {
			n++
			s.u32(int(i))
			s.end(f.pair.to)
			s.left(instant(f.until) * time.Second)
			s.flag(f.answered)
		}
	}
	binary.BigEndian.PutUint32(s.b[at:], uint32(n))
}

// flowsTo are the flows of a pair.
func (e *end) flowsTo(p *pair) func(yield func(uint32, flow) bool) {
	return func(yield func(uint32, flow) bool) {
		var done []uint32
		for _, g := range [2]*ring{&p.pending, &p.answered} {
			for _, i := range g.index[:g.used] {
				f, ok := e.flows[i]
				if !ok || f.pair != p || slices.Contains(done, i) {
					continue
				}
				done = append(done, i)
				if !yield(i, f) {
					return
				}
			}
		}
	}
}
