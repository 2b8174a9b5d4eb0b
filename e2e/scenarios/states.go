package main

// state is a state of trouble, and how `spanctl status` names it.
type state struct {
	// name says what is wrong.
	name string
	code string
	// exit is the exit status of `spanctl status`.
	exit string
	// scenario brings it about, and sees it go where that can be awaited.
	scenario string
}

// The scenarios that bring the states about.
const (
	ofNATs           = "`spanctl doctor` tells a firewall of the machine from a router in front of it, and the kind of a NAT; two symmetric NATs are named"
	ofVersions       = "machines that run another version are named, and the mesh is healthy"
	ofAPI            = "each call of the API by curl as documented, also across the mesh with a token; `APIUnavailable` names a token that others can read"
	ofClearText      = "whatever is deleted, stopped, reloaded or put in front: no packet to the mesh leaves in clear"
	ofDiscovery      = "discovery is called at a wrong port, with a certificate that is not valid, and with a clock that is off: named, until it is mended"
	ofConfigFile     = "a config that is missing, staged, not valid, deleted or on trial is named, and no longer once it is mended"
	ofMachine        = "a right, a port, a device, the network, the identity or the disk is missing: named, and no longer once it is mended"
	ofUDP            = "UDP is blocked at a machine, and between two: each is told where, and what the others hear of it"
	ofMembers        = "another cluster ID, another secret, a hostname twice, and a relay that does not forward are told"
	ofStatus         = "`spanctl status` and `wait` name each state of a mesh, with its exit status"
	ofClone          = "a disk is cloned with its state: both machines are told, and reset-identity makes the copy a member of its own"
	ofPredecessor    = "a machine that was set up anew takes its addresses over from its predecessor"
	ofIPv6           = "IPv6 is disabled by sysctl, before the mesh is made and while it runs, and where it cannot be enabled nothing is made"
	ofRule           = "a rule of another program leads packets for the mesh elsewhere"
	ofPrinter        = "two sites with one private network: the printer is reached, not the peer with its address"
	ofGreedyMember   = "a member that advertises everything takes nothing of others: default routes, local networks, longer networks"
	ofAddresses      = "a machine with more addresses than discovery takes is a member"
	ofWireGuard      = "the WireGuard process is stopped, or its control socket lost: it is named and restarted, and no command and no stop of the agent hangs"
	ofPing           = "`spanctl ping` prints the time and the way to a peer, and fails where there is no answer and no agent"
	ofKubernetes     = "a Kubernetes API server refuses an account and a kubelet: that is named, until it has the right"
	ofNftables       = "a kernel without nftables, or without a part of it: nothing is changed, and the error names the module"
	ofConflicts      = "conflicts over a table, a priority, a port or a name are errors before any change"
	ofRepairs        = "another program keeps changing an object: repairs slow down and are reported"
	ofFailover       = "of two machines with one network behind them, the other takes over when its owner dies or leaves"
	ofMemberRelay    = "two machines behind symmetric NATs reach each other by a member's blind relay, which outlives its agent and cannot read"
	ofRelay          = "two machines behind symmetric NATs talk through a relay"
	ofEndpoints      = "endpoints that no machine can use are refused with a reason"
	ofNames          = "port 53 is another program's, /etc/hosts cannot be written, or is a mount whose file was replaced: named, until it is mended"
	ofSettings       = "a filter that lets nothing through, an address of a link's network, a port of metrics that is taken, and configs side by side are named, and no longer once they are mended"
	ofPrograms       = "a rule of another program tests the mesh's mark, and one reverts each change at once: named, until they end"
	ofStuckAgent     = "a disk that does not answer stops a pass: the agent is named as stuck, and goes on when the disk is back"
	ofWatch          = "the kernel reports no changes of the config: that is named, and they take effect all the same"
	ofHostileService = "a discovery service sends nothing, or what no service does: it is named, and the agent's memory is bounded"
	ofTwoMeshes      = "two meshes work on the same machines; what both would use is an error before any change"
	ofSecondAgent    = "a second agent with a state directory of its own is refused"
	ofNodes          = "a cloned machine is seen in Kubernetes, on a Node of its own and on that of the original"
	ofMTU            = "a path with an MTU of 1280 carries a TCP connection"
	ofRelays         = "a relay that has no room for a machine, or answers it neither by UDP nor over TCP, is named, and no longer once that is mended"
	ofRelayKey       = "a member publishes the key of the relay as its own: it is ignored and named, and the relay goes on"
	ofRouters        = "an agent that cannot share WireGuard's port, a router that refuses to map it, and one that is behind another NAT are named, and no longer once that is mended"
	ofFlapping       = "a peer goes down again and again: that is named"
)

// states are all states, at least one for each code.
var states = []state{
	{"discovery is called where it is not", "DiscoveryUnreachable", "2", ofDiscovery},
	{"discovery ends while a peer is up", "DiscoveryUnreachable", "1", ofDiscovery},
	{"its certificate is not valid yet, or of a stranger", "DiscoveryTLS", "2; 1 if peers are up", ofDiscovery},
	{"it has no place for this machine", "DiscoveryUnpublished", "1", ofDiscovery},
	{"it accepts the watch and sends nothing", "DiscoverySilent", "1", ofHostileService},
	{"it answers what no service does", "DiscoveryAnswerRefused", "1", ofHostileService},
	{"it is called without TLS", "DiscoveryPlain", "0", ofDiscovery},
	{"the clock is 30 s off", "ClockOff", "1", ofDiscovery},
	{"the secret is wrong here", "SecretDiffers", "2", ofMembers},
	{"the secret is wrong elsewhere", "SecretDiffersThere", "1", ofMembers},
	{"nobody else is in the cluster", "NoOtherMembers", "1", ofMembers},
	{"two machines have one hostname", "HostnameRepeated", "1", ofMembers},
	{"the mesh is not enabled", "MeshDisabled", "0", ofConfigFile},
	{"the mesh was taken down", "MeshDown", "0", ofConfigFile},
	{"there is no config", "NoConfig", "2; 1 if one is in force", ofConfigFile},
	{"a config is staged only", "ConfigStaged", "1; 2 if none is in force", ofConfigFile},
	{"the config file is not valid", "ConfigInvalid", "1; 2 if none is in force", ofConfigFile},
	{"a config is on trial", "ConfigOnTrial", "0", ofConfigFile},
	{"there are configs side by side", "ConfigAmbiguous", "2", ofSettings},
	{"the file cannot be watched", "ConfigUnwatched", "1", ofWatch},
	{"a filter lets nothing through", "FilterPassesNothing", "1", ofSettings},
	{"an address of the config is in a link's network", "MeshAddressOnLink", "1", ofSettings},
	{"the port of the metrics is taken", "MetricsUnavailable", "1", ofSettings},
	{"names of machines cannot be resolved", "NamesNotInForce", "1", ofNames},
	{"the API cannot be served, or its token is not private", "APIUnavailable", "1", ofAPI},
	{"UDP is blocked here", "UDPBlocked", "2", ofUDP},
	{"UDP is blocked at a peer", "PeerUnreachable", "1", ofUDP},
	{"a peer calls, and does not hear", "OneWayTraffic", "1", ofUDP},
	{"a peer was up, and is down", "PeerDown", "1", ofUDP},
	{"packets to a peer are lost", "PacketLoss", "1", ofUDP},
	{"the firewall here drops packets into the mesh", "TunnelFiltered", "1", ofUDP},
	{"a peer goes down again and again", "PeerFlapping", "1", ofFlapping},
	{"a peer is reached through a relay", "Relayed", "0", ofRelay},
	{"large packets to a peer are lost", "MTUBlackHole", "1", ofPing},
	{"a disk was cloned with its state", "IdentityCloned", "2", ofClone},
	{"two machines have one MAC", "AddressClash", "1", ofPredecessor},
	{"another machine is on this one's Node", "NodeShared", "2", ofNodes},
	{"the API server refuses", "KubernetesRefused", "1", ofKubernetes},
	{"the agent has no right", "NotPermitted", "2", ofMachine},
	{"others may read files", "FilesReadable", "1", ofMachine},
	{"the identity is damaged", "IdentityDamaged", "2", ofMachine},
	{"the state directory cannot be written", "StateUnwritable", "2", ofMachine},
	{"the machine has no network", "NetworkDown", "2", ofMachine},
	{"the port is taken", "PortTaken", "2", ofMachine},
	{"a pass fails", "PassFailing", "2", ofMachine},
	{"IPv6 is off", "IPv6Disabled", "2", ofIPv6},
	{"the kernel has no nftables", "NoNftables", "2", ofNftables},
	{"the table is taken", "TableTaken", "2", ofStatus},
	{"the rule priority is taken", "RulePriorityTaken", "2", ofConflicts},
	{"the link's name is taken", "LinkNameTaken", "2", ofConflicts},
	{"the mark is another mesh's", "MarkTaken", "2", ofTwoMeshes},
	{"another program changes the marks of packets to the mesh", "MarkRewritten", "2", ofClearText},
	{"another program's rule tests the mark", "MarkShared", "1", ofPrograms},
	{"another agent has the link", "SecondAgent", "2", ofSecondAgent},
	{"a rule of another program is in front", "RoutesShadowed", "2", ofRule},
	{"another program changes an object again and again", "RepeatedRepairs", "2", ofRepairs},
	{"the kernel does not keep a change", "PlanNotConverging", "2", ofPrograms},
	{"the WireGuard process hangs", "WireGuardUnresponsive", "2", ofWireGuard},
	{"the MTU is too large", "MTUTooLarge", "1", ofMTU},
	{"a peer's address is in a network here", "AddressOnLink", "1", ofPrinter},
	{"a peer's network covers the LAN", "NetworkCoversLAN", "1", ofGreedyMember},
	{"a peer advertises what none may have", "AddressRefused", "1", ofGreedyMember},
	{"two machines advertise one network", "AddressOverlap", "0", ofFailover},
	{"a peer announces endpoints that nobody can use", "EndpointRefused", "1", ofEndpoints},
	{"a relay does not forward", "RelayNotForwarding", "1", ofMembers},
	{"the port of the relay that is offered is taken", "RelayNotServing", "1", ofMemberRelay},
	{"the machine has more than 64 endpoints", "TooManyEndpoints", "1", ofAddresses},
	{"no agent answers", "NoAgent", "3", ofStatus},
	{"the agent is stuck", "AgentStuck", "2", ofStuckAgent},
	{"both ends are behind a symmetric NAT, without a relay", "SymmetricNAT", "1", ofNATs},
	{"a relay has no room for the machine", "RelayNotJoined", "1", ofRelays},
	{"a relay answers neither by UDP nor over TCP", "RelayUnreachable", "1", ofRelays},
	{"a member claims the key of a relay", "RelayKeyClaimed", "1", ofRelayKey},
	{"the agent cannot share WireGuard's port", "PortNotShared", "1", ofRouters},
	{"a router refuses to map the port", "PortMappingRefused", "0", ofRouters},
	{"a router that maps the port is behind another NAT", "PortMappingBehindNAT", "0", ofRouters},
	{"machines have different versions", "VersionsDiffer", "0", ofVersions},
}
