package relay

// Counts are what a Router has done since it was made, and what it knows now.
type Counts struct {
	// Packets and Bytes are what was forwarded.
	Packets, Bytes uint64
	// Answered are the relay's own packets: responses, cookies and keepalives.
	Answered uint64
	// Nudges are the answers to data of unknown sources.
	Nudges uint64
	// Registrations are the handshakes that the relay has answered.
	Registrations uint64
	// Moves count the members that came to have another address.
	Moves uint64
	// Scans are the initiations whose receiver was looked for among all members of the clusters.
	Scans uint64
	// Dropped are the packets that went nowhere, by reason.
	Dropped [Reasons]uint64

	// Members are the keys that have joined, and Registered those of them that have an address.
	Members, Registered int
	// Unregistered are the sources that are no member's.
	Unregistered int
	// Flows are those of all sources.
	Flows int
}

// A Reason is why a packet went nowhere.
type Reason int

// The reasons.
const (
	// Malformed packets are none of WireGuard's.
	Malformed Reason = iota
	// UnknownReceiver packets match no flow, and no machine that the sender may reach.
	UnknownReceiver
	// UnknownSender packets come from a source that has no flows.
	UnknownSender
	// NotAddressed packets are for a member that has no address now.
	NotAddressed
	// NotAdmitted handshakes have a key that has not joined.
	NotAdmitted
	// NotAuthentic packets to the relay were not made by whom they name, or were replayed.
	NotAuthentic
	// Clash is an index that another session of the receiver has.
	Clash
	// OverRate packets exceed a rate.
	OverRate
	// TableFull packets would need another flow or source.
	TableFull
	// Reasons is the number of reasons.
	Reasons
)

var reasons = [Reasons]string{
	"malformed", "unknown receiver", "unknown sender", "not addressed", "not admitted",
	"not authentic", "clash", "over rate", "table full",
}

// String returns the reason in words.
func (r Reason) String() string { return reasons[r] }
