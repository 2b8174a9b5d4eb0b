package relay

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/spanmesh/span/relay/wireguard"
)

func numbered(kind byte, n int) (key Key) {
	key[0] = kind
	binary.BigEndian.PutUint32(key[1:], uint32(n))
	return key
}

// fill makes a router keep the most that its limits allow, in the shape that takes most memory.
func fill(t *testing.T, r *Router) {
	now, l, keys := time.Now(), r.limits, 0
	for i := range l.Members {
		for j := range l.ClustersPerMember {
			var withoutAgent []Key
			for range l.AllKeysWithoutAgent/l.Members/l.ClustersPerMember + 1 {
				keys++
				withoutAgent = append(withoutAgent, numbered(2, keys))
			}
			// The longest name that a discovery server gives.
			if err := r.Join(now, fmt.Sprintf("%064d", i*l.ClustersPerMember+j), numbered(1, i), netip.IPv6LinkLocalAllNodes(), withoutAgent); err != nil {
				t.Fatal(err)
			}
		}
		m, e := r.members[numbered(1, i)], r.newEnd()
		e.member, m.end = m, e
		e.source, e.located = Source{Addr: netip.AddrPortFrom(netip.IPv6LinkLocalAllNodes(), uint16(i))}, true
		r.at[e.source.id()] = e
		for k := range 3 {
			s := &session{member: m, Session: wireguard.NewSession(wireguard.SessionState{Local: uint32(i*3 + k)})}
			m.sessions = append(m.sessions, s)
			r.sessions[s.index()] = s
		}
	}
	for i := range l.Unregistered {
		r.complete(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}))
	}
	for i := range l.Unregistered {
		if r.guest(Source{Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 1)}) == nil {
			t.Fatal("no room for a sender that is not registered")
		}
	}
	for i := 0; r.counts.Flows < l.Flows; i++ {
		from, to := r.ends[i%len(r.ends)], r.ends[(i+i/len(r.ends)+1)%len(r.ends)]
		if from != to {
			r.open(from, to, uint32(1<<24+i), true)
		}
	}
}

// TestMemory fills a router, with tables that are as full as they may be.
func TestMemory(t *testing.T) {
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	l := DefaultLimits().Within(16 << 20)
	l.MembersPerAddress, l.KeysWithoutAgentPerAddress, l.UnregisteredPerAddress = l.Members, l.AllKeysWithoutAgent, l.Unregistered
	l.FlowsPerSource = l.Flows
	if most := l.Memory(); most > 16<<20 {
		t.Errorf("lowered limits take %d bytes", most)
	}
	private := Key{8}
	r, err := New(private, l)
	if err != nil {
		t.Fatal(err)
	}
	before := heap()
	fill(t, r)
	saved := r.Save(time.Now())
	took := heap() - before
	runtime.KeepAlive(saved)
	runtime.KeepAlive(r)
	t.Logf("%d bytes of at most %d", took, l.Memory())
	if took > l.Memory() {
		t.Errorf("the tables take %d bytes, which is more than the %d that are announced", took, l.Memory())
	}
}
