package relay

import "time"

// JoinFor is how long a key may register after Join.
const JoinFor = time.Hour

// Limits are the bounds of what a Router keeps and does.
type Limits struct {
	// Members bounds the keys that have joined.
	Members int
	// MembersPerAddress bounds the keys that joined from one address, or from one IPv6 /64.
	MembersPerAddress int
	// ClustersPerMember bounds the clusters in which one key has joined.
	ClustersPerMember int
	// KeysWithoutAgent bounds the keys of machines without an agent, in each cluster.
	KeysWithoutAgent int
	// Flows bounds the flows of all sources: two for each session between two machines.
	Flows int
	// FlowsPerSource bounds the flows of one source.
	FlowsPerSource int
	// Unregistered bounds the sources that are no member's.
	Unregistered int
	// UnregisteredPerAddress bounds those of one address, or of one IPv6 /64.
	UnregisteredPerAddress int
	// BytesPerSecond bounds what is forwarded from one source. 0 is no bound.
	BytesPerSecond int64
	// ScansPerSecond bounds the initiations of a member whose receiver is looked for in all of its
	// clusters, as it is none of the last correspondents. Twenty times as many may come at once.
	ScansPerSecond int
	// UnregisteredScansPerSecond bounds those of an address that is no member's, or of an IPv6 /64.
	UnregisteredScansPerSecond int
	// UnregisteredTrials bounds the keys that are tried in a second for all sources that are no
	// member's. A trial takes about half a microsecond.
	UnregisteredTrials int
	// Handshakes bounds the handshakes with the relay in a second, before senders must show by a
	// cookie that they have their address. A handshake takes about half a millisecond.
	Handshakes int
}

// DefaultLimits returns limits that fit 10,000 members, in about 200 MB at most.
func DefaultLimits() Limits {
	return Limits{
		Members:                    10_000,
		MembersPerAddress:          1_000,
		ClustersPerMember:          16,
		KeysWithoutAgent:           1_000,
		Flows:                      1 << 20,
		FlowsPerSource:             1 << 13,
		Unregistered:               10_000,
		UnregisteredPerAddress:     256,
		ScansPerSecond:             20,
		UnregisteredScansPerSecond: 5,
		UnregisteredTrials:         200_000,
		Handshakes:                 200,
	}
}
