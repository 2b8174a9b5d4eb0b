package condition

import "time"

// The codes of registries and what they know, sorted. registryDefinitions has what they mean.
const (
	// ClockOff is the code of a clock that differs from those of the registries.
	ClockOff Code = "ClockOff"
	// DiscoveryAnswerRefused is the code of a discovery service whose answers are not acceptable.
	DiscoveryAnswerRefused Code = "DiscoveryAnswerRefused"
	// DiscoveryPlain is the code of a discovery service that is called without TLS.
	DiscoveryPlain Code = "DiscoveryPlain"
	// DiscoverySilent is the code of a discovery service that accepts the watch and sends nothing.
	DiscoverySilent Code = "DiscoverySilent"
	// DiscoveryTLS is the code of a discovery service whose certificate is not acceptable.
	DiscoveryTLS Code = "DiscoveryTLS"
	// DiscoveryUnpublished is the code of a discovery service that does not take this machine.
	DiscoveryUnpublished Code = "DiscoveryUnpublished"
	// DiscoveryUnreachable is the code of a registry that cannot be reached.
	DiscoveryUnreachable Code = "DiscoveryUnreachable"
	// IdentityCloned is the code of another machine with this machine's identity.
	IdentityCloned Code = "IdentityCloned"
	// KubernetesRefused is the code of an API server that refuses this machine's requests.
	KubernetesRefused Code = "KubernetesRefused"
	// NodeShared is the code of a Kubernetes Node that another machine publishes itself on.
	NodeShared Code = "NodeShared"
	// TooManyEndpoints is the code of a machine with more addresses than discovery takes.
	TooManyEndpoints Code = "TooManyEndpoints"
	// VersionsDiffer is the code of machines that run another version of spanctl.
	VersionsDiffer Code = "VersionsDiffer"
)

// registryDefinitions define the codes of registries and what they know.
var registryDefinitions = []Definition{
	{
		Code: ClockOff, Severity: SeverityWarning,
		Summary:     "this clock is 30 seconds or more off those of the registries; it ends below 20",
		Check:       "`timedatectl`; `date -u` here and at the registry",
		Remedy:      "`timedatectl set-ntp true`",
		ClearsAfter: 5 * time.Second,
	},
	{
		Code: DiscoveryAnswerRefused, Severity: SeverityWarning,
		Summary: "a discovery service answers what no service of the protocol does, such as a compressed message or a redirect to plain HTTP",
		Check:   "`curl -v` to the endpoint",
		Remedy:  "check what answers at the endpoint, and who is on the path",
	},
	{
		Code: DiscoveryPlain, Severity: SeverityInfo,
		Summary: "a discovery service is called over the network without TLS",
		Check:   "the endpoint in the config: it begins with http://",
		Remedy:  "serve it with a certificate, and set an endpoint with https://",
	},
	{
		Code: DiscoverySilent, Severity: SeverityWarning,
		Summary: "a discovery service accepts the watch and does not send its machines",
		Check:   "`curl -v` to the endpoint; the log of the proxy on the way",
		Remedy:  "check what answers at the endpoint; behind a proxy that holds back streams, `protocol: connect`",
		Hides:   []Code{NoOtherMembers},
	},
	{
		Code: DiscoveryTLS, Severity: SeverityError,
		Summary: "the certificate of a registry is not acceptable here; a warning while peers are up or another registry answers",
		Check:   "`openssl s_client -connect HOST:PORT`; `date -u`",
		Remedy:  "set the clock, renew the certificate, or set `ca`, as the cause asks for",
		Hides:   []Code{NoOtherMembers},
	},
	{
		Code: DiscoveryUnpublished, Severity: SeverityWarning,
		Summary: "a discovery service does not take this machine, for more than a minute",
		Check:   "the log of the service",
		Remedy:  "raise the limit that is named at the service; check that all machines have the same `cluster.secret`",
	},
	{
		Code: DiscoveryUnreachable, Severity: SeverityError,
		Summary: "a registry cannot be reached: it never was, or fails for a minute; a warning while peers are up or another registry answers",
		Check:   "`curl -v` to the endpoint",
		Remedy:  "check the endpoint, the service and the network on the way; known machines stay in the mesh",
		Settles: true,
		Hides:   []Code{NoOtherMembers, RelayUnreachable},
	},
	{
		Code: IdentityCloned, Severity: SeverityError,
		Summary:  "another machine has this machine's identity",
		Check:    "`spanctl get identities` on both machines",
		Remedy:   "`spanctl reset-identity --yes` on the copy",
		NotReady: true,
	},
	{
		Code: KubernetesRefused, Severity: SeverityWarning,
		Summary: "the Kubernetes API server refuses what this machine asks for",
		Check:   "`kubectl auth can-i list nodes` with the machine's kubeconfig",
		Remedy:  "`kubectl apply -f deploy/kubernetes/rbac.yaml`, and use the credentials of its service account",
		Hides:   []Code{NoOtherMembers},
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
	{
		Code: VersionsDiffer, Severity: SeverityInfo,
		Summary: "other machines run another version of spanctl",
		Check:   "`spanctl get members -o wide`",
		Remedy:  "upgrade all to one version when it suits: neighbouring minor versions share a mesh",
		Settles: true,
	},
}
