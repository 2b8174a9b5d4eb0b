package condition

import "slices"

// Code is the stable name of a kind of condition.
type Code string

// The codes, sorted. Each has its severity and meaning in definitions below.
const (
	// AddressClash is the code of a mesh address that two machines have.
	AddressClash Code = "AddressClash"
	// AddressOnLink is the code of a peer's address in a network of this machine that the peer is
	// not in.
	AddressOnLink Code = "AddressOnLink"
	// AddressOverlap is the code of a network that several machines advertise.
	AddressOverlap Code = "AddressOverlap"
	// AddressRefused is the code of an address or network that no peer may have.
	AddressRefused Code = "AddressRefused"
	// ConfigAmbiguous is the code of several config files of which one is to count.
	ConfigAmbiguous Code = "ConfigAmbiguous"
	// ConfigUnwatched is the code of a config file whose changes the kernel does not report.
	ConfigUnwatched Code = "ConfigUnwatched"
	// DiscoveryAnswerRefused is the code of a discovery service whose answers are not acceptable.
	DiscoveryAnswerRefused Code = "DiscoveryAnswerRefused"
	// DiscoverySilent is the code of a discovery service that accepts the watch and sends nothing.
	DiscoverySilent Code = "DiscoverySilent"
	// DiscoveryUnpublished is the code of a discovery service that does not take this machine.
	DiscoveryUnpublished Code = "DiscoveryUnpublished"
	// DiscoveryUnreachable is the code of a discovery service that cannot be reached for long.
	DiscoveryUnreachable Code = "DiscoveryUnreachable"
	// EndpointRefused is the code of an endpoint of a peer that no machine can use.
	EndpointRefused Code = "EndpointRefused"
	// FilterPassesNothing is the code of a filter of the config that lets nothing through.
	FilterPassesNothing Code = "FilterPassesNothing"
	// IPv6Disabled is the code of a kernel setting that disables IPv6, which the mesh needs.
	IPv6Disabled Code = "IPv6Disabled"
	// IdentityCloned is the code of another machine with this machine's identity.
	IdentityCloned Code = "IdentityCloned"
	// LinkNameTaken is the code of a link of another program that has the mesh link's name.
	LinkNameTaken Code = "LinkNameTaken"
	// MTUTooLarge is the code of an MTU that the links to the peers do not leave room for.
	MTUTooLarge Code = "MTUTooLarge"
	// MarkShared is the code of a rule of another program that tests our bits of the mark.
	MarkShared Code = "MarkShared"
	// MarkTaken is the code of a firewall mark that another mesh of this machine uses.
	MarkTaken Code = "MarkTaken"
	// MeshAddressOnLink is the code of an address of the config in a link's network.
	MeshAddressOnLink Code = "MeshAddressOnLink"
	// NetworkCoversLAN is the code of a peer's network that has a network of this machine in it.
	NetworkCoversLAN Code = "NetworkCoversLAN"
	// NodeShared is the code of a Kubernetes Node that another machine publishes itself on.
	NodeShared Code = "NodeShared"
	// PlanNotConverging is the code of an object that the kernel keeps otherwise than it was
	// written.
	PlanNotConverging Code = "PlanNotConverging"
	// RepeatedRepairs is the code of an object that another program changes again and again.
	RepeatedRepairs Code = "RepeatedRepairs"
	// RoutesShadowed is the code of a rule of another program that leads packets for the mesh
	// elsewhere.
	RoutesShadowed Code = "RoutesShadowed"
	// RulePriorityTaken is the code of a rule of another program at our priority.
	RulePriorityTaken Code = "RulePriorityTaken"
	// SecondAgent is the code of a link that another agent works on.
	SecondAgent Code = "SecondAgent"
	// TableTaken is the code of routes of another program in our table.
	TableTaken Code = "TableTaken"
	// TooManyEndpoints is the code of a machine with more addresses than discovery takes.
	TooManyEndpoints Code = "TooManyEndpoints"
	// WireGuardUnresponsive is the code of a WireGuard process that does not answer.
	WireGuardUnresponsive Code = "WireGuardUnresponsive"
)

// Severity is how much a condition matters.
type Severity string

// The severities.
const (
	// SeverityError is for a mesh that does not work as the config asks.
	SeverityError Severity = "error"
	// SeverityWarning is for what an operator should mend soon.
	SeverityWarning Severity = "warning"
	// SeverityInfo is for what an operator may want to know.
	SeverityInfo Severity = "info"
)

// rank orders severities; the most severe is first.
func (s Severity) rank() int {
	return slices.Index([]Severity{SeverityError, SeverityWarning, SeverityInfo}, s)
}

// Definition describes the conditions of a code.
type Definition struct {
	Code     Code
	Severity Severity
	// Summary says what is wrong, in a line.
	Summary string
	// Remedy says what to do, in a line of Markdown. Condition.Remedy has the details.
	Remedy string
}

// definitions are all codes, sorted.
// docs/mesh.md has them as a table: go test ./reconciler/condition -update writes it.
var definitions = []Definition{
	{AddressClash, SeverityWarning, "two machines have the same address in the mesh",
		"wait until the predecessor has expired, or change the MAC of one"},
	{AddressOnLink, SeverityWarning, "a peer has an address in a network of this machine, and is not in that network",
		"`routeConnectedNetworks`, or exclude the address at the peer"},
	{AddressOverlap, SeverityInfo, "several machines advertise the same network or address",
		"none, if both are to serve it or one was set up anew; else exclude it at one"},
	{AddressRefused, SeverityWarning, "a peer advertises an address or network that no machine may have",
		"change what the peer advertises; for a default route, `filters.peerNetworks`; none, if this machine was set up anew"},
	{ConfigAmbiguous, SeverityError, "there are configs in several formats side by side, and none of them is put in force",
		"move all but one away"},
	{ConfigUnwatched, SeverityWarning, "the kernel does not report changes of the config file, which is looked at every two seconds instead",
		"raise the limit that is named, such as the sysctl `fs.inotify.max_user_instances`"},
	{DiscoveryAnswerRefused, SeverityWarning, "a discovery service answers what no service of the protocol does, such as a compressed message or a redirect to plain HTTP",
		"check what answers at the endpoint, and who is on the path"},
	{DiscoverySilent, SeverityWarning, "a discovery service accepts the watch and does not send its machines",
		"check what answers at the endpoint; behind a proxy that holds back streams, `protocol: connect`"},
	{DiscoveryUnpublished, SeverityWarning, "a discovery service does not take this machine, for more than a minute",
		"raise the limit that is named at the service; check that all machines have the same `cluster.secret`"},
	{DiscoveryUnreachable, SeverityWarning, "a discovery service cannot be used, for more than a minute",
		"check the endpoint, the service and the network on the way; known machines stay in the mesh"},
	{EndpointRefused, SeverityWarning, "a peer publishes endpoints that no machine can use",
		"change what the peer announces"},
	{FilterPassesNothing, SeverityWarning, "a filter of the config lets nothing of what there is through",
		"put `0.0.0.0/0` and `::/0` before what the filter excludes: the last entry that matches decides"},
	{IPv6Disabled, SeverityError, "IPv6 is disabled, and cannot be enabled for the mesh's link",
		"set the sysctl that is named, or boot with IPv6"},
	{IdentityCloned, SeverityError, "another machine has this machine's identity",
		"`spanctl reset-identity --yes` on the copy"},
	{LinkNameTaken, SeverityError, "another program has a link with the mesh link's name",
		"rename that link, or set another `interfaceName`"},
	{MTUTooLarge, SeverityWarning, "the mesh's MTU is larger than the links to the peers allow",
		"`mtu: \"auto\"`"},
	{MarkShared, SeverityWarning, "a rule of another program tests bits of `fwmark`",
		"set `fwmark` to an unused bit"},
	{MarkTaken, SeverityError, "another mesh of this machine uses bits of `fwmark`",
		"set `fwmark` to unused bits in one of the meshes"},
	{MeshAddressOnLink, SeverityWarning, "an address of the config is in a network of another link",
		"use a network for `addresses` that no link has"},
	{NetworkCoversLAN, SeverityWarning, "a peer's network has a network of this machine in it, which stays local",
		"`routeConnectedNetworks`, or narrow what the peer advertises"},
	{NodeShared, SeverityError, "another machine publishes itself on this machine's Kubernetes Node",
		"set `nodeName` to the Node of each machine"},
	{PlanNotConverging, SeverityError, "an object in the kernel does not stay as it was written",
		"find the program that reverts it, such as with `ip monitor`"},
	{RepeatedRepairs, SeverityError, "another program changes an object in the kernel again and again",
		"find that program, or take the mesh down"},
	{RoutesShadowed, SeverityError, "a rule of another program leads packets for the mesh elsewhere",
		"set `rulePriority` below that of the rule, or remove the rule"},
	{RulePriorityTaken, SeverityError, "another program or mesh uses the rule priority",
		"set another `rulePriority`"},
	{SecondAgent, SeverityError, "another agent works on the mesh's link",
		"stop one of the two, or give one its own link, port, mark, table and rule priority"},
	{TableTaken, SeverityError, "another program or mesh uses the routing table",
		"set another `routingTable`, or remove the routes"},
	{TooManyEndpoints, SeverityWarning, "the machine has more addresses than discovery takes",
		"`filters.interfaces` or `filters.endpoints`"},
	{WireGuardUnresponsive, SeverityError, "the WireGuard process does not answer",
		"none: the agent restarts it; without an agent, kill it"},
}

// Definitions returns all codes, sorted.
func Definitions() []Definition { return slices.Clone(definitions) }

// Definition returns the definition of the code. An unknown code is a warning.
func (c Code) Definition() Definition {
	if i := slices.IndexFunc(definitions, func(d Definition) bool { return d.Code == c }); i >= 0 {
		return definitions[i]
	}
	return Definition{Code: c, Severity: SeverityWarning}
}
