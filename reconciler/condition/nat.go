package condition

import "time"

// The codes of NATs and of blind relays, sorted. natDefinitions has what they mean.
const (
	// PortMappingBehindNAT is the code of a router that maps the machine's port and is itself behind a
	// NAT.
	PortMappingBehindNAT Code = "PortMappingBehindNAT"
	// PortMappingRefused is the code of a router that refuses to map the machine's port.
	PortMappingRefused Code = "PortMappingRefused"
	// PortNotShared is the code of an agent that may not send from WireGuard's port.
	PortNotShared Code = "PortNotShared"
	// RelayKeyClaimed is the code of a blind relay and a machine that have the same key.
	RelayKeyClaimed Code = "RelayKeyClaimed"
	// RelayNotJoined is the code of a discovery service with a relay that does not let this machine in.
	RelayNotJoined Code = "RelayNotJoined"
	// RelayUnreachable is the code of a blind relay that does not answer.
	RelayUnreachable Code = "RelayUnreachable"
)

// natDefinitions define the codes of NATs and of blind relays.
var natDefinitions = []Definition{
	{
		Code: PortMappingBehindNAT, Severity: SeverityInfo,
		Summary: "the router maps the machine's UDP port, and another NAT is in front of the router, so that only machines behind that one reach it",
		Check:   "`spanctl doctor`, check `mapping`",
		Remedy:  "make the router a bridge, or forward the UDP port on the NAT in front of it; none, where peers are reached all the same",
		After:   30 * time.Second,
	},
	{
		Code: PortMappingRefused, Severity: SeverityInfo,
		Summary: "the router was asked to map the machine's UDP port, and refuses",
		Check:   "`spanctl doctor`, check `mapping`",
		Remedy:  "allow PCP, NAT-PMP or UPnP for this machine on the router, or forward the UDP port there; `nat.portMapping: false` asks no more",
	},
	{
		Code: PortNotShared, Severity: SeverityWarning,
		Summary: "the agent cannot send from WireGuard's port: the outside address is not asked for, and no direct path through NATs is looked for",
		Check:   "`spanctl doctor`, check `rights`; `grep CapEff /proc/$(pgrep -o spanctl)/status`",
		Remedy:  "give the agent CAP_NET_RAW, as its unit and the chart do; or set `nat.stun: false` and `nat.punch: false`",
	},
	{
		Code: RelayKeyClaimed, Severity: SeverityWarning,
		Summary: "a relay and a machine have the same key, and one of the two is ignored",
		Check:   "`spanctl get affiliates -o yaml`",
		Remedy:  "if the machine is ignored, find who runs it: `spanctl rotate-key` there if it is a mistake, or give the other machines a new `cluster.secret`; if the relay is, find who runs the discovery service",
	},
	{
		Code: RelayNotJoined, Severity: SeverityWarning,
		Summary: "a discovery service has a relay, and this machine could not join it",
		Check:   "the log of the discovery server",
		Remedy:  "raise the limit that is named at the server, or set the clock; `relay.use: false` joins none",
		After:   30 * time.Second,
	},
	{
		Code: RelayUnreachable, Severity: SeverityWarning,
		Summary: "a relay that this machine has joined answers neither by UDP nor over TCP: peers that it would carry are not reached by it",
		Check:   "`spanctl doctor`, check `relay`",
		Remedy:  "let UDP out to the address that is named, and open its UDP port at the relay; `relay.use: false` uses none",
		After:   30 * time.Second, Settles: true,
	},
}
