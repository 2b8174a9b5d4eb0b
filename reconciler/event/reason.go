// Package event defines the reasons of events that are no condition. Those of conditions are their
// codes.
package event

import "slices"

// Reason is one word for programs, which does not change between versions.
type Reason string

// The reasons, sorted.
const (
	// AffiliateRefused is the reason of another machine that is not used.
	AffiliateRefused Reason = "AffiliateRefused"
	// AgentStarted is the reason of the first event of an agent.
	AgentStarted Reason = "AgentStarted"
	// Cleared is the reason of the end of a condition.
	Cleared Reason = "Cleared"
	// ClockSet is the reason of a clock that was set.
	ClockSet Reason = "ClockSet"
	// ConfigApplied is the reason of a config that was put in force.
	ConfigApplied Reason = "ConfigApplied"
	// ConfigConfirmed is the reason of a trial that was confirmed.
	ConfigConfirmed Reason = "ConfigConfirmed"
	// ConfigRolledBack is the reason of a trial that was not.
	ConfigRolledBack Reason = "ConfigRolledBack"
	// DiscoveryConnected is the reason of a registry that is connected.
	DiscoveryConnected Reason = "DiscoveryConnected"
	// DiscoveryRedirected is the reason of a registry that redirects elsewhere.
	DiscoveryRedirected Reason = "DiscoveryRedirected"
	// EndpointChanged is the reason of a peer that is reached at another endpoint.
	EndpointChanged Reason = "EndpointChanged"
	// KeyRotated is the reason of another WireGuard key of this machine.
	KeyRotated Reason = "KeyRotated"
	// NetworkChanged is the reason of other addresses or routes of this machine.
	NetworkChanged Reason = "NetworkChanged"
	// PassRecovered is the reason of a pass that succeeds after some that failed.
	PassRecovered Reason = "PassRecovered"
	// PeerDirect is the reason of a peer whose traffic takes no relay any more.
	PeerDirect Reason = "PeerDirect"
	// PeerJoined is the reason of a new peer.
	PeerJoined Reason = "PeerJoined"
	// PeerLeft is the reason of a peer that is gone.
	PeerLeft Reason = "PeerLeft"
	// PeerPunched is the reason of a peer that is reached directly, through NATs that both ends have opened.
	PeerPunched Reason = "PeerPunched"
	// PeerRelayed is the reason of a peer whose traffic takes a relay, or another one.
	PeerRelayed Reason = "PeerRelayed"
	// PeerUp is the reason of a peer that is reached.
	PeerUp Reason = "PeerUp"
	// RelayLost is the reason of a blind relay that does not answer any more.
	RelayLost Reason = "RelayLost"
	// RelayOverTCP is the reason of a blind relay that is reached over TCP.
	RelayOverTCP Reason = "RelayOverTCP"
	// RelayReached is the reason of a blind relay that is reached by UDP.
	RelayReached Reason = "RelayReached"
	// Repaired is the reason of an external change that was reverted.
	Repaired Reason = "Repaired"
	// WireGuardRestarted is the reason of another WireGuard process.
	WireGuardRestarted Reason = "WireGuardRestarted"
)

// Definition says what a reason means.
type Definition struct {
	Reason Reason
	// Summary is half a sentence.
	Summary string
}

// many is how events of peers end that happen to many.
const many = "; more than 20 at once are one event"

var definitions = []Definition{
	{AffiliateRefused, "another machine is not used, and why"},
	{AgentStarted, "the agent has started"},
	{Cleared, "a condition has ended"},
	{ClockSet, "this machine's clock was set, and by how much"},
	{ConfigApplied, "a config was put in force"},
	{ConfigConfirmed, "a config on trial stays"},
	{ConfigRolledBack, "a config on trial was not confirmed, and the one before is in force again"},
	{DiscoveryConnected, "a registry is connected"},
	{DiscoveryRedirected, "a registry redirects elsewhere"},
	{EndpointChanged, "a peer is reached at another endpoint than before" + many},
	{KeyRotated, "this machine has another WireGuard key"},
	{NetworkChanged, "this machine's addresses or routes have changed, or it was suspended"},
	{PassRecovered, "a pass succeeded after some that failed"},
	{PeerDirect, "a peer's traffic goes directly again, and through no relay" + many},
	{PeerJoined, "a peer has joined the mesh" + many},
	{PeerLeft, "a peer has left the mesh" + many},
	{PeerPunched, "a peer is reached directly, through NATs that both ends have opened" + many},
	{PeerRelayed, "a peer's traffic goes through a relay, or another one" + many},
	{PeerUp, "a peer is reached" + many},
	{RelayLost, "a blind relay stopped answering"},
	{RelayOverTCP, "a blind relay is reached over TCP, since its UDP port does not answer"},
	{RelayReached, "a blind relay is reached by UDP: for the first time, or again after it was lost or used over TCP"},
	{Repaired, "what another program changed was put back"},
	{WireGuardRestarted, "the WireGuard process did not answer, and another was started"},
}

// Definitions returns what all reasons mean, sorted by reason.
func Definitions() []Definition { return slices.Clone(definitions) }
