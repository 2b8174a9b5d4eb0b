package relay

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/spanmesh/span/relay/wireguard"
)

// skipCounters is what a restored session leaves out: keepalives may have been sent since it was
// saved, and no counter may be used twice.
const skipCounters = 1 << 20

var errContradiction = errors.New("inconsistent")

// Restore takes over what another Router with the same key has saved, for a planned restart. What
// was there before is gone. After an error, the router is as it was.
func (r *Router) Restore(now time.Time, saved []byte) error {
	n := newRouter(r.responder, r.limits)
	if err := n.restore(now, saved); err != nil {
		return fmt.Errorf("relay: restore the table: %w", err)
	}
	flows := n.counts.Flows
	n.counts = r.counts
	n.counts.Flows = flows
	*r = *n
	return nil
}

func (r *Router) restore(now time.Time, saved []byte) error {
	saved, ok := bytes.CutPrefix(saved, []byte(saveMagic))
	if !ok {
		return errors.New("saved by another version")
	}
	r.tick(now)
	l := &loader{b: saved, now: r.now}
	if l.key() != r.PublicKey() {
		return errors.New("saved with another key")
	}
	l.gone = min(max(0, now.Sub(time.Unix(0, int64(l.u64())))), JoinFor)
	if table := [tableSize]byte(l.take(tableSize)); table != ([tableSize]byte{}) {
		r.table = table
	}
	ends := r.restoreEnds(l)
	for range l.count("members", r.limits.Members, 60) {
		r.restoreMember(l, ends)
	}
	for range l.count("clusters", r.limits.Members*r.limits.ClustersPerMember, 6) {
		r.restoreForeign(l, ends)
	}
	for _, e := range ends {
		r.restoreGuest(l, e)
	}
	for _, e := range ends {
		r.restoreFlows(l, e, ends)
	}
	return l.err
}

func (r *Router) restoreEnds(l *loader) (ends []*end) {
	for range l.count("ends", r.limits.Members+r.limits.Unregistered, 1) {
		from, located := l.source()
		e := r.newEnd()
		if e.source, e.located = from, located; located {
			if r.at[from.id()] != nil {
				l.fail(errContradiction)
				return nil
			}
			r.at[from.id()] = e
		}
		ends = append(ends, e)
	}
	return ends
}

func (r *Router) restoreMember(l *loader, ends []*end) {
	key, from, timestamp, e := l.key(), l.address(), l.take(len(wireguard.Timestamp{})), l.end(ends)
	clusters := l.count("clusters of a member", r.limits.ClustersPerMember, 10)
	if r.members[key] != nil || clusters == 0 || e != nil && e.member != nil {
		l.fail(errContradiction)
	}
	if l.err != nil {
		return
	}
	m := newMember(key, from)
	m.timestamp = wireguard.Timestamp(timestamp)
	r.members[key] = m
	r.joined[from]++
	if e != nil {
		e.member, m.end = m, e
	}
	for range clusters {
		c := r.clusterNamed(l)
		c.members[key], m.until[c] = m, l.until(JoinFor)
	}
	for range l.count("sessions", 3, 100) {
		r.restoreSession(l, m)
	}
}

func (r *Router) clusterNamed(l *loader) *cluster {
	name := string(l.short())
	if name == "" || len(name) > maxCluster {
		l.fail(errContradiction)
	}
	c := r.clusters[name]
	if c == nil {
		c = newCluster(name)
		r.clusters[name] = c
	}
	return c
}

func (r *Router) restoreSession(l *loader, m *member) {
	state := wireguard.SessionState{
		Local: l.u32(), Remote: l.u32(), ReceiveKey: l.key(), SendKey: l.key(),
		NextReceive: l.u64(), NextSend: l.u64(),
	}
	state.NextSend += skipCounters
	s := &session{member: m, made: l.until(wireguard.RejectAfterTime) - wireguard.RejectAfterTime}
	s.to, _ = l.source()
	s.confirmed, s.proven = l.flag(), l.flag()
	s.heard = l.now
	if r.sessions[state.Local] != nil || state.NextSend < skipCounters {
		l.fail(errContradiction)
	}
	if l.err != nil {
		return
	}
	s.Session = wireguard.NewSession(state)
	m.sessions = append(m.sessions, s)
	r.sessions[state.Local] = s
}

func (r *Router) restoreForeign(l *loader, ends []*end) {
	c := r.clusterNamed(l)
	if len(c.members) == 0 {
		l.fail(errContradiction)
	}
	for range l.count("keys without an agent", r.limits.KeysWithoutAgent, 45) {
		key, from, until, e := l.key(), l.address(), l.until(JoinFor), l.end(ends)
		if l.err == nil && (c.foreign[key] != nil || e != nil && e.member != nil) {
			l.fail(errContradiction)
		}
		if l.err != nil {
			return
		}
		f := r.newForeign(c, from, key)
		if f == nil {
			continue // the limits were lowered
		}
		f.until = until
		if e != nil {
			f.end, e.names = e, append(e.names, f)
		}
	}
}

// restoreGuest counts an end that is no member's.
func (r *Router) restoreGuest(l *loader, e *end) {
	if e.member != nil {
		return
	}
	if !e.located {
		l.fail(errContradiction)
	}
	r.guests[Network(e.source.Addr.Addr())]++
	r.allGuests++
}

func (r *Router) restoreFlows(l *loader, e *end, ends []*end) {
	for range l.count("flows", r.limits.FlowsPerSource, 17) {
		index, to, until, answered := l.u32(), l.end(ends), l.until(sessionFor), l.flag()
		if l.err != nil {
			return
		}
		if to == nil || to == e {
			l.fail(errContradiction)
			return
		}
		if !reaches(e, to) {
			continue
		}
		if _, ok := r.open(e, to, index, answered); ok {
			f := e.flows[index]
			f.until = uint32(max(0, until+time.Second-1) / time.Second)
			e.flows[index] = f
			if answered && to.member == nil {
				r.complete(Network(to.source.Addr.Addr()))
			}
		}
	}
}
