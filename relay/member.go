package relay

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/spanmesh/span/relay/wireguard"
)

// ErrFull is that of a Join beyond a limit.
var ErrFull = errors.New("relay: no room for another member")

// maxCluster bounds the name of a cluster, in bytes.
const maxCluster = 256

// member is a key that may register.
type member struct {
	key Key
	mac *wireguard.MAC
	// until is when the member leaves its clusters.
	until map[*cluster]instant
	// from is the network that it joined from.
	from netip.Addr
	// end is nil before the member has registered.
	end *end
	// sessions are those with the relay: one that is not confirmed, the current, the one before.
	sessions []*session
	// timestamp is that of the last handshake.
	timestamp wireguard.Timestamp
}

// cluster is whose members may reach each other.
type cluster struct {
	name    string
	members map[Key]*member
	foreign map[Key]*foreign
}

// foreign is a machine of a cluster that does not register.
type foreign struct {
	key     Key
	mac     *wireguard.MAC
	cluster *cluster
	until   instant
	// from is the network of the member that named it first.
	from netip.Addr
	// end is where it is, if a member's response has shown it.
	end *end
}

func (m *member) shares(other *member) bool {
	for c := range m.until {
		if _, in := other.until[c]; in {
			return true
		}
	}
	return false
}

// Join lets a member of a cluster register for JoinFor. From is where the call came from.
// WithoutAgent are the keys of machines of the cluster that do not register: as many of them as there is
// room for are kept. An error wraps ErrFull if a limit is reached. Join also fails for a cluster name that
// is empty or longer than 256 bytes, for a key of zeros, and for the relay's own key.
func (r *Router) Join(now time.Time, cluster string, key Key, from netip.Addr, withoutAgent []Key) error {
	r.tick(now)
	switch {
	case cluster == "" || len(cluster) > maxCluster:
		return fmt.Errorf("relay: the name of a cluster has 1 to %d bytes", maxCluster)
	case key == (Key{}) || key == r.PublicKey():
		return errors.New("relay: the key is zero or the relay's own: join with the machine's WireGuard key")
	}
	m, err := r.admit(key, Network(from))
	if err != nil {
		return err
	}
	c := r.clusters[cluster]
	if c == nil || c.members[key] == nil {
		if len(m.until) >= r.limits.ClustersPerMember {
			return fmt.Errorf("%w: the key is in %d clusters already", ErrFull, len(m.until))
		}
		if c == nil {
			c = newCluster(cluster)
			r.clusters[cluster] = c
		}
	}
	c.members[key], m.until[c] = m, r.now+JoinFor
	r.announce(c, m.from, withoutAgent)
	if len(m.sessions) == 0 {
		// The clock of a machine may be earlier after it has started again.
		m.timestamp = wireguard.Timestamp{}
	}
	return nil
}

func newCluster(name string) *cluster {
	return &cluster{name: name, members: map[Key]*member{}, foreign: map[Key]*foreign{}}
}

func newMember(key Key, from netip.Addr) *member {
	return &member{key: key, mac: wireguard.NewMAC(key), until: map[*cluster]instant{}, from: from}
}

// admit returns the member with a key, which is new if there is none yet.
func (r *Router) admit(key Key, from netip.Addr) (*member, error) {
	m := r.members[key]
	if m != nil && m.from == from {
		return m, nil
	}
	if r.joined[from] >= r.limits.MembersPerAddress {
		return nil, fmt.Errorf("%w: %d keys have joined from this address", ErrFull, r.joined[from])
	}
	if m == nil {
		if len(r.members) >= r.limits.Members {
			return nil, fmt.Errorf("%w: %d keys have joined", ErrFull, len(r.members))
		}
		m = newMember(key, from)
		r.members[key] = m
	} else {
		r.uncountJoined(m)
	}
	m.from = from
	r.joined[from]++
	return m, nil
}

func (r *Router) uncountJoined(m *member) {
	if r.joined[m.from]--; r.joined[m.from] <= 0 {
		delete(r.joined, m.from)
	}
}

// announce keeps the keys of machines without an agent, as many as fit.
func (r *Router) announce(c *cluster, from netip.Addr, keys []Key) {
	for _, k := range keys {
		f := c.foreign[k]
		if f == nil {
			if f = r.newForeign(c, from, k); f == nil {
				continue // those that are known go on
			}
		}
		f.until = r.now + JoinFor
	}
}

// newForeign returns a machine without an agent; nil if there is no room.
func (r *Router) newForeign(c *cluster, from netip.Addr, k Key) *foreign {
	if len(c.foreign) >= r.limits.KeysWithoutAgent || r.named[from] >= r.limits.KeysWithoutAgentPerAddress || r.allNamed >= r.limits.AllKeysWithoutAgent {
		return nil
	}
	f := &foreign{key: k, mac: wireguard.NewMAC(k), cluster: c, from: from}
	c.foreign[k] = f
	r.named[from]++
	r.allNamed++
	return f
}

// removeForeign forgets a machine without an agent.
func (r *Router) removeForeign(f *foreign) {
	f.leave()
	delete(f.cluster.foreign, f.key)
	r.allNamed--
	if r.named[f.from]--; r.named[f.from] <= 0 {
		delete(r.named, f.from)
	}
}

// Knows reports whether a member has joined in a cluster, and may still register.
func (r *Router) Knows(cluster string, key Key) bool {
	c := r.clusters[cluster]
	return c != nil && c.members[key] != nil
}

// Leave ends what Join has allowed.
func (r *Router) Leave(cluster string, key Key) {
	if c := r.clusters[cluster]; c != nil && c.members[key] != nil {
		r.leave(c.members[key], c)
	}
}

// leave ends a member's part in a cluster, and all flows that only this cluster allowed.
func (r *Router) leave(m *member, c *cluster) {
	delete(m.until, c)
	delete(c.members, m.key)
	if len(c.members) == 0 {
		for _, f := range c.foreign {
			r.removeForeign(f)
		}
		delete(r.clusters, c.name)
	}
	if len(m.until) == 0 {
		r.remove(m)
		return
	}
	r.separate(m.end)
}

// separate unlinks an end from those that it may no longer reach.
func (r *Router) separate(e *end) {
	if e == nil {
		return
	}
	for other := range e.pairs {
		if !reaches(e, other) {
			r.unlink(e, other)
		}
	}
}

// remove forgets a member.
func (r *Router) remove(m *member) {
	for _, s := range m.sessions {
		delete(r.sessions, s.index())
	}
	r.uncountJoined(m)
	if m.end != nil {
		r.forget(m.end)
	}
	delete(r.members, m.key)
}

// leave forgets where a machine without an agent is.
func (f *foreign) leave() {
	if f.end == nil {
		return
	}
	for i, n := range f.end.names {
		if n == f {
			f.end.names = append(f.end.names[:i], f.end.names[i+1:]...)
			break
		}
	}
	f.end = nil
}

// Closed reports that a stream has ended.
func (r *Router) Closed(stream uint64) {
	e := r.at[Source{Stream: stream}]
	if e == nil || stream == 0 {
		return
	}
	switch {
	case e.member == nil:
		r.forget(e)
	case e.stream == stream:
		r.leaveStream(e)
	default:
		r.leavePlace(e)
	}
}
