package condition

// The codes of peers and what they advertise, sorted. peerDefinitions has what they mean.
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
	// EndpointRefused is the code of an endpoint of a peer that no machine can use.
	EndpointRefused Code = "EndpointRefused"
	// NetworkCoversLAN is the code of a peer's network that has a network of this machine in it.
	NetworkCoversLAN Code = "NetworkCoversLAN"
)

// peerDefinitions define the codes of peers and what they advertise.
var peerDefinitions = []Definition{
	{
		Code: AddressClash, Severity: SeverityWarning,
		Summary: "two machines have the same address in the mesh",
		Check:   "`ip link` on both machines: the mesh address is made of the MAC of the first link",
		Remedy:  "wait until the predecessor has expired, or change the MAC of one",
	},
	{
		Code: AddressOnLink, Severity: SeverityWarning,
		Summary: "a peer has an address in a network of this machine, and is not in that network",
		Check:   "`ip route get ADDRESS`; `spanctl get peerspecs -o yaml`",
		Remedy:  "`routeConnectedNetworks`, or exclude the address at the peer",
	},
	{
		Code: AddressOverlap, Severity: SeverityInfo,
		Summary: "several machines advertise the same network or address",
		Check:   "`spanctl get peerspecs -o yaml`",
		Remedy:  "none, if both are to serve it or one was set up anew; else exclude it at one",
	},
	{
		Code: AddressRefused, Severity: SeverityWarning,
		Summary: "a peer advertises an address or network that no machine may have",
		Check:   "`spanctl get peerspecs -o yaml`",
		Remedy:  "change what the peer advertises; for a default route, `filters.peerNetworks`; none, if this machine was set up anew",
	},
	{
		Code: EndpointRefused, Severity: SeverityWarning,
		Summary: "a peer publishes endpoints that no machine can use",
		Check:   "`spanctl get affiliates -o yaml`",
		Remedy:  "change what the peer announces",
	},
	{
		Code: NetworkCoversLAN, Severity: SeverityWarning,
		Summary: "a peer's network has a network of this machine in it, which stays local",
		Check:   "`ip route`; `spanctl get peerspecs -o yaml`",
		Remedy:  "`routeConnectedNetworks`, or narrow what the peer advertises",
	},
}
