package condition

// The codes of registries and what they know, sorted. registryDefinitions has what they mean.
const (
	// DiscoveryAnswerRefused is the code of a discovery service whose answers are not acceptable.
	DiscoveryAnswerRefused Code = "DiscoveryAnswerRefused"
	// DiscoverySilent is the code of a discovery service that accepts the watch and sends nothing.
	DiscoverySilent Code = "DiscoverySilent"
	// DiscoveryUnpublished is the code of a discovery service that does not take this machine.
	DiscoveryUnpublished Code = "DiscoveryUnpublished"
	// DiscoveryUnreachable is the code of a discovery service that cannot be reached for long.
	DiscoveryUnreachable Code = "DiscoveryUnreachable"
	// IdentityCloned is the code of another machine with this machine's identity.
	IdentityCloned Code = "IdentityCloned"
	// NodeShared is the code of a Kubernetes Node that another machine publishes itself on.
	NodeShared Code = "NodeShared"
	// TooManyEndpoints is the code of a machine with more addresses than discovery takes.
	TooManyEndpoints Code = "TooManyEndpoints"
)

// registryDefinitions define the codes of registries and what they know.
var registryDefinitions = []Definition{
	{
		Code: DiscoveryAnswerRefused, Severity: SeverityWarning,
		Summary: "a discovery service answers what no service of the protocol does, such as a compressed message or a redirect to plain HTTP",
		Check:   "`curl -v` to the endpoint",
		Remedy:  "check what answers at the endpoint, and who is on the path",
	},
	{
		Code: DiscoverySilent, Severity: SeverityWarning,
		Summary: "a discovery service accepts the watch and does not send its machines",
		Check:   "`curl -v` to the endpoint; the log of the proxy on the way",
		Remedy:  "check what answers at the endpoint; behind a proxy that holds back streams, `protocol: connect`",
	},
	{
		Code: DiscoveryUnpublished, Severity: SeverityWarning,
		Summary: "a discovery service does not take this machine, for more than a minute",
		Check:   "the log of the service",
		Remedy:  "raise the limit that is named at the service; check that all machines have the same `cluster.secret`",
	},
	{
		Code: DiscoveryUnreachable, Severity: SeverityWarning,
		Summary: "a discovery service cannot be used, for more than a minute",
		Check:   "`curl -v` to the endpoint",
		Remedy:  "check the endpoint, the service and the network on the way; known machines stay in the mesh",
	},
	{
		Code: IdentityCloned, Severity: SeverityError,
		Summary:  "another machine has this machine's identity",
		Check:    "`spanctl get identities` on both machines",
		Remedy:   "`spanctl reset-identity --yes` on the copy",
		NotReady: true,
	},
	{
		Code: NodeShared, Severity: SeverityError,
		Summary:  "another machine publishes itself on this machine's Kubernetes Node",
		Check:    "`kubectl get nodes -o wide`",
		Remedy:   "set `nodeName` to the Node of each machine",
		NotReady: true,
	},
	{
		Code: TooManyEndpoints, Severity: SeverityWarning,
		Summary: "the machine has more addresses than discovery takes",
		Check:   "`ip address`",
		Remedy:  "`filters.interfaces` or `filters.endpoints`",
	},
}
