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
	// KeysWithoutAgent bounds the keys of machines without an agent, in each cluster;
	// KeysWithoutAgentPerAddress those that members at one address, or in one IPv6 /64, have named
	// first; and AllKeysWithoutAgent all.
	KeysWithoutAgent, KeysWithoutAgentPerAddress, AllKeysWithoutAgent int
	// Flows bounds the flows of all sources: two for each session between two machines.
	Flows int
	// FlowsPerSource bounds the flows of one source.
	FlowsPerSource int
	// Unregistered bounds the sources that are no member's, and the networks of them that are known to
	// have completed a handshake.
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
	// MemberTrials bounds those for members, in all, and MemberTrialsPerAddress those for members that
	// joined from one address, or from one IPv6 /64.
	MemberTrials, MemberTrialsPerAddress int
	// Handshakes bounds the handshakes with the relay in a second, before senders must show by a
	// cookie that they have their address. A handshake takes about half a millisecond.
	Handshakes int
}

// DefaultLimits returns limits that fit 10,000 members.
func DefaultLimits() Limits {
	return Limits{
		Members:                    10_000,
		MembersPerAddress:          1_000,
		ClustersPerMember:          4,
		KeysWithoutAgent:           1_000,
		KeysWithoutAgentPerAddress: 10_000,
		AllKeysWithoutAgent:        100_000,
		Flows:                      1 << 20,
		FlowsPerSource:             1 << 13,
		Unregistered:               10_000,
		UnregisteredPerAddress:     256,
		ScansPerSecond:             20,
		UnregisteredScansPerSecond: 5,
		UnregisteredTrials:         200_000,
		MemberTrials:               400_000,
		MemberTrialsPerAddress:     100_000,
		Handshakes:                 200,
	}
}

// Upper bounds of what a Router keeps for each object, in bytes: a member has three sessions and
// clusters of its own, and each flow is between two other machines.
const (
	memberMemory  = 3 << 10
	clusterMemory = 1 << 10
	namedMemory   = 512
	flowMemory    = 256
	guestMemory   = 1 << 10
)

// Memory returns the most memory that a Router with the limits takes, in bytes, while it is saved as
// well, and without garbage.
func (l Limits) Memory() int64 {
	return int64(l.Members)*(memberMemory+int64(l.ClustersPerMember)*clusterMemory) + int64(l.AllKeysWithoutAgent)*namedMemory +
		int64(l.Flows)*flowMemory + int64(l.Unregistered)*guestMemory
}

// Within returns the limits with those that take memory lowered by the same factor until Memory is
// no more than a number of bytes.
func (l Limits) Within(memory int64) Limits {
	share := float64(memory) / float64(l.Memory())
	if share >= 1 {
		return l
	}
	for _, limit := range []*int{&l.Members, &l.MembersPerAddress, &l.KeysWithoutAgentPerAddress, &l.AllKeysWithoutAgent,
		&l.Flows, &l.FlowsPerSource, &l.Unregistered, &l.UnregisteredPerAddress} {
		*limit = max(1, int(float64(*limit)*share))
	}
	return l
}
