package doctor

import (
	"net/netip"
	"time"

	"github.com/spanmesh/span/netlinkapply"
	"github.com/spanmesh/span/netlinkapply/firewall"
	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/failure"
	"github.com/spanmesh/span/reconciler/health"
	"github.com/spanmesh/span/reconciler/mesh"
)

// Facts are what is known of a machine. A zero field is not known, unless it says otherwise.
type Facts struct {
	// Now is this machine's clock.
	Now time.Time
	// Socket is the path of the agent's socket.
	Socket string
	// Start says how an agent is started here.
	Start string
	// Agent is the agent's process; nil if none answers.
	Agent *Process
	// Silent says why the agent's process, which has the socket, does not answer; the zero value
	// if it does.
	Silent condition.Condition
	// SocketDenied is set where this process may not use the socket.
	SocketDenied bool
	// Identity are the files of the machine's identity that are damaged, IdentityFault why it is not
	// known, IdentityInUse whether the agent has such a file in use.
	Identity      []condition.Condition
	IdentityFault string
	IdentityInUse bool
	// Self is this process.
	Self Process
	// Config is the config; nil if there is none. Earlier is set where it is the one in force, since that
	// in the file is missing or not valid.
	Config  *Config
	Earlier bool
	// ConfigPath is where the config is looked for, ConfigFault why there is none.
	ConfigPath, ConfigFault string
	// ConfigDenied is set where this process may not read the config.
	ConfigDenied bool
	// InForce is set where an agent works by an earlier config.
	InForce bool
	// Filtered are the conditions of a firewall here that drops packets into the mesh.
	Filtered []condition.Condition
	Host     Host
	// Files are those that others must not read or change.
	Files []health.File
	// Services are the discovery services of the config.
	Services []Service
	// Peers are the ways to the peers; nil without an agent.
	Peers []Peer
	// Outside is how this machine looks from outside, for each family of addresses; nil if there is
	// no service to ask.
	Outside []Outside
	// Addresses are this machine's, with their links.
	Addresses map[netip.Addr]string
	// Mapping is how a NAT maps the listen port, as STUN servers or peers see it.
	Mapping mesh.Mapping
	// Router are the ports that the router maps to it, since the agent has asked for that.
	Router []mesh.PortMapping
	Known
}

// Known is what the agent knows of the ways through NATs.
type Known struct {
	// BehindNAT has those of Router that another NAT is in front of, RouterFaults why there are none.
	BehindNAT    map[mesh.PortMapping]bool
	RouterFaults []mesh.PortMappingFault
	// Relays are the blind relays that the machine has joined, NotJoined the conditions of others.
	Relays    []Relay
	NotJoined []condition.Condition
	// Offered is the blind relay that the machine is for others, NotServing the conditions of it.
	Offered    health.OfferedRelay
	NotServing []condition.Condition
	// Paths is what probes have shown of each peer that answers them.
	Paths []Path
}

// Process is a process.
type Process struct {
	PID int
	// Capabilities are the bits of its effective capabilities (capabilities(7)), if Known.
	Capabilities uint64
	Known        bool
}

// Config has the settings that findings depend on.
type Config struct {
	Link         string
	ListenPort   int
	RulePriority int
	RoutingTable int
	// RelayOffer is relay.forwarding.offer, and BlindOffer relay.offer.
	RelayOffer, BlindOffer bool
	// NoPortMapping and NoPunch are set where the settings of nat are false.
	NoPortMapping, NoPunch bool
}

// Host is the kernel's state.
type Host struct {
	// Wireguard is what --wireguard asks for: auto, kernel or userspace.
	Wireguard string
	// KernelWireguard is set if the kernel has WireGuard, or a module with it.
	KernelWireguard bool
	// TUN is set if /dev/net/tun is there.
	TUN bool
	// NFTables is set if the kernel has nftables, or a module with it.
	NFTables bool
	// IPv6 is set if the kernel runs with IPv6.
	IPv6 bool
	// Sysctls are settings below /proc/sys/net by their paths. Those that are missing do not exist.
	Sysctls map[string]string
	// HasLink is set if the mesh's link exists.
	HasLink bool
	// Rules are the routing rules of all families.
	Rules []Rule
	// Port is who has the UDP port, PortIsOurs is set if that is spanctl's process for the link.
	Port       netlinkapply.PortOwner
	PortIsOurs bool
	// Ingress are the chains that see packets before they are counted; nil with IngressHidden where
	// they cannot be read.
	Ingress       []firewall.IngressChain
	IngressHidden bool
}

// Rule is a routing rule.
type Rule struct {
	Family   string
	Priority int
	// Table is the table that it leads to; 0 for none.
	Table int
	// Ours is set if spanctl made it.
	Ours bool
	// Narrow is set if it is for packets of certain links, sources, users, ports or marks only.
	Narrow bool
	// Protocol is that of TCP or UDP if it is for that alone; 0 for all.
	Protocol int
	// Destination is a network; "" for all.
	Destination string
}

// Service is a discovery service.
type Service struct {
	// URL is without a password.
	URL string
	// Host is the host in it.
	Host string
	// Addresses are what its name stands for, LookupFault why there are none.
	Addresses   []string
	LookupFault string
	// Proxy is the proxy for it, without a password; "" for none.
	Proxy string
	// TLS is what it has shown; nil without TLS or a connection.
	TLS *Certificate
	// Fault is why it does not answer; "" if it does.
	Fault string
	// Date is its clock when it answered; Sent and At are this machine's when it was asked and had
	// answered.
	Date, Sent, At time.Time
}

// Certificate is the certificate of a service.
type Certificate struct {
	NotBefore, NotAfter time.Time
	// Fault is why it is not trusted, other than for its dates.
	Fault failure.Failure
}

// Outside is what a discovery service has told of this machine, and what it has sent to it.
type Outside struct {
	// URL is that of the service, without a password; Family is IPv4 or IPv6.
	URL, Family string
	// Fault is why nothing is known; it continues a sentence about the service, if there is a URL.
	Fault string
	// Local and Remote are the ends of the connection to it, Seen is this machine's end as the
	// service sees it; not valid if it does not tell.
	Local, Remote, Seen netip.Addr
	// Sent is how many datagrams the service has sent to the listen port of Seen. Arrived are those
	// that have reached this machine, Accepted those of them that its firewall has let through.
	Sent, Arrived, Accepted int
}

// Peer is the way to a peer.
type Peer struct {
	Name string
	// Up is set while packets pass, without a relay, and Relayed while they do by one.
	Up, Relayed bool
	// Fault is why nothing is known of it.
	Fault string
	// Answers is set if it answers echoes.
	Answers bool
	// Full and Passes are the largest packets that were tried, and that passed, in bytes.
	Full, Passes int
}
