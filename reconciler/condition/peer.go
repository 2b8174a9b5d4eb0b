package condition

import "time"

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
	// HostnameRepeated is the code of a hostname that two machines have.
	HostnameRepeated Code = "HostnameRepeated"
	// MTUBlackHole is the code of a way to a peer that loses large packets and passes small ones.
	MTUBlackHole Code = "MTUBlackHole"
	// NetworkCoversLAN is the code of a peer's network that has a network of this machine in it.
	NetworkCoversLAN Code = "NetworkCoversLAN"
	// NoOtherMembers is the code of a cluster that has no other machine.
	NoOtherMembers Code = "NoOtherMembers"
	// OneWayTraffic is the code of a peer whose packets arrive and that does not hear the answers.
	OneWayTraffic Code = "OneWayTraffic"
	// PacketLoss is the code of a peer on whose path many packets are lost.
	PacketLoss Code = "PacketLoss"
	// PeerDown is the code of a peer that was up and is silent.
	PeerDown Code = "PeerDown"
	// PeerFlapping is the code of a peer that goes down again and again.
	PeerFlapping Code = "PeerFlapping"
	// PeerUnreachable is the code of a peer that was never reached while others are.
	PeerUnreachable Code = "PeerUnreachable"
	// RelayNotForwarding is the code of a machine that offers to forward for others and does not forward.
	RelayNotForwarding Code = "RelayNotForwarding"
	// RelayNotServing is the code of a machine that offers a blind relay, and cannot serve it.
	RelayNotServing Code = "RelayNotServing"
	// Relayed is the code of a peer whose traffic another one carries.
	Relayed Code = "Relayed"
	// SecretDiffers is the code of a machine that can read no other one.
	SecretDiffers Code = "SecretDiffers"
	// SecretDiffersThere is the code of a machine that cannot be read while others can.
	SecretDiffersThere Code = "SecretDiffersThere"
	// SymmetricNAT is the code of a peer that cannot be reached since the NATs of both ends give
	// another port for each peer.
	SymmetricNAT Code = "SymmetricNAT"
	// TunnelFiltered is the code of a machine whose own firewall drops packets that are to enter the mesh.
	TunnelFiltered Code = "TunnelFiltered"
	// UDPBlocked is the code of a machine that no peer answers.
	UDPBlocked Code = "UDPBlocked"
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
		After:   10 * time.Second, Settles: true,
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
		Code: HostnameRepeated, Severity: SeverityWarning,
		Summary: "two machines have one hostname",
		Check:   "`spanctl get members`",
		Remedy:  "give each its own hostname; none, if one was set up anew: discovery forgets its predecessor after half an hour",
		After:   time.Minute, Settles: true,
	},
	{
		Code: MTUBlackHole, Severity: SeverityWarning,
		Summary: "large packets to a peer are lost on the way, and small ones are not: connections open and then stand still",
		Check:   "`spanctl ping PEER --mtu`",
		Remedy:  "set the `mtu` that is named, at both ends, or let the network on the way pass larger packets",
		Settles: true,
	},
	{
		Code: NetworkCoversLAN, Severity: SeverityWarning,
		Summary: "a peer's network has a network of this machine in it, which stays local",
		Check:   "`ip route`; `spanctl get peerspecs -o yaml`",
		Remedy:  "`routeConnectedNetworks`, or narrow what the peer advertises",
	},
	{
		Code: NoOtherMembers, Severity: SeverityWarning,
		Summary: "no other machine is in this cluster",
		Check:   "the fingerprint of the cluster, which `spanctl status` shows, on two machines: it is the same in one cluster",
		Remedy:  "copy one config to all machines: `spanctl gen config` makes a new cluster each time; none, for the first machine of a cluster",
		After:   time.Minute, Settles: true,
	},
	{
		Code: OneWayTraffic, Severity: SeverityWarning,
		Summary: "a peer calls this machine, and does not hear the answers",
		Check:   "`spanctl get peers` at the peer: it receives nothing; `nft list ruleset` and `ip route get ENDPOINT` at both",
		Remedy:  "let the firewall of the peer take UDP from this machine, and the firewall and the routes here pass it; for a static peer, compare `presharedKey`",
		After:   20 * time.Second, Settles: true,
	},
	{
		Code: PacketLoss, Severity: SeverityWarning,
		Summary: "many packets to a peer that is up are lost: a fifth of the last 20 echoes or more, until less than a tenth is",
		Check:   "`spanctl ping PEER`; `spanctl get peers` has the loss; `ping` to the address of its endpoint",
		Remedy:  "mend the link that loses packets, or the firewall or router that limits UDP",
		After:   2 * time.Minute, Settles: true,
	},
	{
		Code: PeerDown, Severity: SeverityWarning,
		Summary: "a peer was up and is silent",
		Check:   "`spanctl status` at the peer",
		Remedy:  "check that it runs and has its network; none, if it was switched off: discovery forgets it after half an hour",
		After:   30 * time.Second, Settles: true,
	},
	{
		Code: PeerFlapping, Severity: SeverityWarning,
		Summary: "a peer goes down and comes up again and again",
		Check:   "`spanctl get events`; `ping` to the address of its endpoint",
		Remedy:  "check the network between both for loss, and whether another machine has its endpoint",
		Settles: true,
	},
	{
		Code: PeerUnreachable, Severity: SeverityWarning,
		Summary: "a peer was never reached",
		Check:   "`spanctl get peerspecs -o yaml` has its endpoints; `nft list ruleset` at the peer",
		Remedy:  "open its UDP port, at the machine and at its router; or give a discovery server `--relay`",
		After:   30 * time.Second, Settles: true,
	},
	{
		Code: RelayNotForwarding, Severity: SeverityWarning,
		Summary: "the machine offers to forward the traffic of others, or of a static peer, and does not forward packets",
		Check:   "`sysctl net.ipv6.conf.all.forwarding net.ipv4.ip_forward`",
		Remedy:  "`sysctl -w net.ipv6.conf.all.forwarding=1 net.ipv4.ip_forward=1`, and in a file under `/etc/sysctl.d`; or `relay.forwarding.offer: false`, or `advertise: false` of the static peer",
	},
	{
		Code: RelayNotServing, Severity: SeverityWarning,
		Summary: "the relay that this machine offers does not run, still runs at its previous port instead of `relay.port`, or does not serve every member",
		Check:   "`spanctl status`, line `offers`, has the port at which it serves; `spanctl doctor`, check `relay`; `ss -lunp`",
		Remedy:  "free the UDP port, or choose another one with `relay.port`; or `relay.offer: false`",
		After:   10 * time.Second,
	},
	{
		Code: Relayed, Severity: SeverityInfo,
		Summary: "a member that forwards carries the traffic of a peer, and can read it",
		Check:   "`spanctl get peers`",
		Remedy:  "none; for a direct path, open a UDP port at one of both",
		Settles: true,
	},
	{
		Code: SecretDiffers, Severity: SeverityError,
		Summary:  "what the other machines publish cannot be read with this machine's secret",
		Check:    "`spanctl get affiliates -o yaml`; the fingerprint of the cluster, which `spanctl status` shows, on two machines",
		Remedy:   "copy `cluster.secret` from a machine that works",
		NotReady: true,
		Hides:    []Code{OneWayTraffic, PeerDown, PeerUnreachable, SecretDiffersThere, UDPBlocked},
		After:    10 * time.Second, Settles: true,
	},
	{
		Code: SecretDiffersThere, Severity: SeverityWarning,
		Summary: "what another machine publishes cannot be read with the cluster's secret",
		Check:   "`spanctl get affiliates -o yaml`",
		Remedy:  "correct `cluster.secret` at that machine",
		After:   10 * time.Second, Settles: true,
	},
	{
		Code: SymmetricNAT, Severity: SeverityWarning,
		Summary: "the NATs of this machine and of a peer give both another port for each peer, so that neither can be called. It is known where peers have `harvestExtraEndpoints` set, and two are reached directly; elsewhere the code is PeerUnreachable. Every machine of the cluster can publish such endpoints, so the cause also has what was sent in vain",
		Check:   "`spanctl doctor`, check `nat`, on both machines",
		Remedy:  "`--relay` on a discovery server, or `relay.offer` on a third machine that both reach; or forward a UDP port at one of both",
		After:   30 * time.Second, Settles: true,
	},
	{
		Code: TunnelFiltered, Severity: SeverityWarning,
		Summary: "this machine's own firewall drops packets that are to enter the mesh",
		Check:   "`spanctl ping PEER` says that it is not permitted; `nft list ruleset` has the rule",
		Remedy:  "let the output chains pass what leaves by the mesh's link",
		After:   10 * time.Second,
	},
	{
		Code: UDPBlocked, Severity: SeverityError,
		Summary:  "no peer answers, or none hears this machine",
		Check:    "`spanctl doctor`, check `udp`, tells whether this machine's firewall drops it, or a router in front; `spanctl get peers`: TX grows and RX does not",
		Remedy:   "open the UDP port of `listenPort` here and on the router, both ways",
		NotReady: true,
		Hides:    []Code{OneWayTraffic, PeerDown, PeerUnreachable, SymmetricNAT},
		After:    10 * time.Second, ClearsAfter: 10 * time.Second, Settles: true,
	},
}
