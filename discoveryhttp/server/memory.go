package server

import "math"

// What the server keeps for each of what it counts, in bytes. A connection, a call and a watch
// are measured with clients that send and take nothing. A watch is also a call; it has the
// largest header, of short fields, and a cluster of its own. A cluster is measured with the
// longest ID. A call that waits has its request.
const (
	connectionMemory = 16 << 10
	callMemory       = 8 << 10
	watchMemory      = 16 << 10
	clusterMemory    = 1 << 10
	waitingMemory    = minRequest
	// inviteMemory is for a call of InviteService: its request or answer, decoded and encoded.
	inviteMemory = 2 * maxInvite
	// garbagePercent is how much garbage there is before the collector runs, of what is in use.
	garbagePercent = 40
)

// Memory returns the most memory that callers can make a server with the limits take, in
// bytes, besides what it has at the start. It is math.MaxInt64 if a limit is missing.
func (l Limits) Memory() int64 {
	if l.Store.Bytes == 0 || l.Store.Clusters == 0 || l.Sent == 0 || l.Store.Backlog == 0 || l.Copies == 0 || l.Calls == 0 || l.Watches == 0 || l.Waiting == 0 {
		return math.MaxInt64
	}
	return l.boundedMemory()
}

// startMemory is what a server has at the start, in bytes.
const startMemory = 37 << 20

// most returns the most memory that a server with the limits may take, in bytes; 0 for no bound.
func (l Limits) most() int64 {
	if m := l.Memory(); m < math.MaxInt64 {
		return m + startMemory
	}
	return 0
}

// boundedMemory is Memory without what a missing limit would bound.
func (l Limits) boundedMemory() int64 {
	used := l.Store.Bytes + l.Store.Backlog + l.Sent + l.Copies +
		int64(l.Store.Clusters)*clusterMemory +
		int64(l.Connections.Connections)*connectionMemory +
		int64(l.Calls)*callMemory +
		int64(l.Watches)*watchMemory +
		int64(l.Waiting)*waitingMemory +
		l.Store.InvitationBytes + int64(l.Invites)*inviteMemory
	return used + used*garbagePercent/100
}

// Within returns the limits with those that take memory, in all and of one address, lowered
// by the same factor until Memory is no more than a number of bytes. A missing limit stays
// missing, and the others are lowered as if nothing came of that.
func (l Limits) Within(memory int64) Limits {
	share := float64(memory) / float64(l.boundedMemory())
	if share >= 1 {
		return l
	}
	lower(share, &l.Store.InvitationBytes, &l.Store.CallerInvitationBytes)
	lower(share, &l.Store.Invitations, &l.Store.CallerInvitations, &l.Invites, &l.InvitesPerAddress)
	lower(share, &l.Store.Bytes, &l.Store.CallerBytes, &l.Store.Backlog, &l.Sent, &l.Copies, &l.CopiesPerAddress)
	lower(share, &l.Store.Clusters, &l.Store.CallerClusters, &l.Connections.Connections, &l.Connections.PerCaller,
		&l.Connections.Pending, &l.Connections.PendingPerCaller, &l.Calls, &l.CallsPerAddress,
		&l.Watches, &l.WatchesPerAddress, &l.Waiting, &l.WaitingPerAddress)
	return l
}

// orNone returns a limit, or the largest number for 0, which is no limit.
func orNone(limit int64) int64 {
	if limit == 0 {
		return math.MaxInt64
	}
	return limit
}

// lower multiplies limits by a share. A limit stays one.
func lower[T int | int64](share float64, limits ...*T) {
	for _, limit := range limits {
		if *limit > 0 {
			*limit = max(T(float64(*limit)*share), 1)
		}
	}
}
