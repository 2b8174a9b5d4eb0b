package schema

import (
	"encoding/base64"
	"encoding/json"
	"net/netip"
	"strings"
)

// Config is a complete machine config with every default filled in. It does not change after it
// was loaded.
type Config struct {
	// Machine holds the settings of this machine.
	Machine Machine `json:"machine"`
	// Cluster holds the settings that the machines of the cluster share.
	Cluster Cluster `json:"cluster"`
}

// KubeSpan returns the settings of the mesh: &c.Machine.Network.KubeSpan.
func (c *Config) KubeSpan() *KubeSpan { return &c.Machine.Network.KubeSpan }

// Machine holds the settings of one machine.
type Machine struct {
	// Network holds the network settings.
	Network Network `json:"network"`
	// Metrics says how Prometheus reads the metrics.
	Metrics Metrics `json:"metrics"`
	// API says how programs on other machines read the agent's API.
	API API `json:"api"`
}

// API says where the agent's API is besides its socket, and what its clients must know.
type API struct {
	// Listen is where it is served; zero for nowhere.
	Listen ListenAddress `json:"listen"`
	// TokenFile is the path of a file that has the token; empty for that of the state directory.
	TokenFile string `json:"tokenFile"`
}

// Metrics says where the metrics of a machine are, and how many.
type Metrics struct {
	// Listen is where they are served besides the socket; zero for nowhere.
	Listen ListenAddress `json:"listen"`
	// PerPeer has metrics of each peer, however many there are.
	PerPeer bool `json:"perPeer"`
}

// Network holds the network settings of a machine.
type Network struct {
	// KubeSpan holds the settings of the mesh.
	KubeSpan KubeSpan `json:"kubespan"`
}

// KubeSpan holds the settings of the mesh on one machine. machine.cue documents each at length.
type KubeSpan struct {
	// Enabled joins the mesh.
	Enabled bool `json:"enabled"`
	// AdvertiseKubernetesNetworks announces the pod networks of this machine's Node.
	AdvertiseKubernetesNetworks bool `json:"advertiseKubernetesNetworks"`
	// AllowDownPeerBypass lets traffic to a peer that is down leave outside of the mesh.
	AllowDownPeerBypass bool `json:"allowDownPeerBypass"`
	// HarvestExtraEndpoints publishes the endpoints at which this machine sees its peers.
	HarvestExtraEndpoints bool `json:"harvestExtraEndpoints"`
	// MTU is the MTU of the link, in bytes, or AutoMTU.
	MTU MTU `json:"mtu"`
	// Filters choose addresses and networks.
	Filters Filters `json:"filters"`
	// ExtraAnnouncedEndpoints are announced besides the addresses of the machine.
	ExtraAnnouncedEndpoints []netip.AddrPort `json:"extraAnnouncedEndpoints"`
	// AdvertisedNetworks are networks behind this machine.
	AdvertisedNetworks []netip.Prefix `json:"advertisedNetworks"`
	// Addresses are further addresses of this machine on the link, with their prefix lengths.
	Addresses []netip.Prefix `json:"addresses"`
	// Bypass are networks that stay outside of the tunnel.
	Bypass []netip.Prefix `json:"bypass"`
	// RouteConnectedNetworks are networks of this machine's links that a peer may take.
	RouteConnectedNetworks []netip.Prefix `json:"routeConnectedNetworks"`
	// Relay says what is carried for others, and by others.
	Relay Relay `json:"relay"`
	// NAT says what is done about a NAT in front of the machine.
	NAT NAT `json:"nat"`
	// Names say whether names of machines are resolved.
	Names Names `json:"names"`
	// ListenPort is the UDP port of WireGuard.
	ListenPort int `json:"listenPort"`
	// InterfaceName is the name of the WireGuard link.
	InterfaceName string `json:"interfaceName"`
	// RoutingTable is the number of the table with the routes into the tunnel.
	RoutingTable int `json:"routingTable"`
	// RulePriority is the priority of the rules that look into that table.
	RulePriority int `json:"rulePriority"`
	// FirewallMark marks WireGuard's own packets. It is a single bit.
	FirewallMark uint32 `json:"fwmark"`
	// PersistentKeepalive is in seconds. 0 turns it off.
	PersistentKeepalive int `json:"persistentKeepalive"`
}

// MTU is a number of bytes, or AutoMTU.
type MTU int

// AutoMTU is the MTU "auto": the largest that fits the links that lead to the peers.
const AutoMTU MTU = 0

const autoText = `"auto"`

var (
	_ json.Unmarshaler = (*MTU)(nil)
	_ json.Marshaler   = MTU(0)
)

// UnmarshalJSON reads a number of bytes or "auto".
func (m *MTU) UnmarshalJSON(data []byte) error {
	if string(data) == autoText {
		*m = AutoMTU
		return nil
	}
	return json.Unmarshal(data, (*int)(m))
}

// MarshalJSON is the inverse of UnmarshalJSON.
func (m MTU) MarshalJSON() ([]byte, error) {
	if m == AutoMTU {
		return []byte(autoText), nil
	}
	return json.Marshal(int(m))
}

// Names say whether a machine resolves the names of those in the mesh.
type Names struct {
	// Enabled resolves them.
	Enabled bool `json:"enabled"`
	// Domain is that of the names, in lower case, without a dot at its end.
	Domain string `json:"domain"`
}

// NAT says what is done about a NAT in front of a machine.
type NAT struct {
	// STUN asks servers at which address and port they see WireGuard's port.
	STUN bool `json:"stun"`
	// Servers are asked in place of the discovery services.
	Servers []STUNServer `json:"servers"`
	// Punch looks for direct paths to peers.
	Punch bool `json:"punch"`
	// PortMapping asks the router for a port that leads to WireGuard's.
	PortMapping bool `json:"portMapping"`
	// UPnP lets PortMapping use that protocol, too.
	UPnP bool `json:"upnp"`
}

// Filters choose addresses and networks.
type Filters struct {
	// Endpoints choose the addresses that this machine announces as endpoints. See Passes.
	Endpoints []Filter `json:"endpoints"`
	// PeerEndpoints choose the endpoints of peers that this machine tries.
	PeerEndpoints []Filter `json:"peerEndpoints"`
	// PeerNetworks choose the networks of peers that are routed.
	PeerNetworks []Filter `json:"peerNetworks"`
	// Interfaces choose the links whose addresses are announced.
	Interfaces []LinkFilter `json:"interfaces"`
	// ExcludeAdvertisedNetworks are networks that this machine does not advertise.
	ExcludeAdvertisedNetworks []netip.Prefix `json:"excludeAdvertisedNetworks"`
}

// Cluster holds the settings that the machines of a cluster share.
type Cluster struct {
	// ID names the cluster. It is used as written, never decoded.
	ID string `json:"id"`
	// Secret encrypts what discovery carries, and is the base of the preshared keys.
	Secret Secret `json:"secret"`
	// Discovery says how machines find each other.
	Discovery Discovery `json:"discovery"`
}

// Discovery says how machines find each other.
type Discovery struct {
	// Enabled publishes this machine and looks for the others.
	Enabled bool `json:"enabled"`
	// Registries say where.
	Registries Registries `json:"registries"`
}

// Registries are the places where machines publish themselves.
type Registries struct {
	// Kubernetes uses the Nodes of Kubernetes.
	Kubernetes KubernetesRegistry `json:"kubernetes"`
	// Service uses discovery services.
	Service ServiceRegistry `json:"service"`
	// Static has peers that are described in the config.
	Static StaticRegistry `json:"static"`
}

// StaticRegistry holds peers that are described in the config.
type StaticRegistry struct {
	// Peers have unique names, keys and networks.
	Peers []StaticPeer `json:"peers"`
}

// StaticPeer is a peer that is described in the config.
type StaticPeer struct {
	// Name is unique among the static peers.
	Name string `json:"name"`
	// PublicKey is the WireGuard public key. It is unique among the static peers.
	PublicKey StaticKey `json:"publicKey"`
	// Endpoints are addresses to try. A peer without any connects by itself.
	Endpoints []netip.AddrPort `json:"endpoints"`
	// AllowedIPs are the peer's networks, masked.
	AllowedIPs []netip.Prefix `json:"allowedIPs"`
	// PresharedKey is the zero value if the peer has none.
	PresharedKey Secret `json:"presharedKey"`
	// Advertise announces AllowedIPs to the other machines while the peer is up.
	Advertise bool `json:"advertise"`
}

// StaticKey is the public key of a static peer.
type StaticKey [KeyLength]byte

// UnmarshalText reads the base64 of 32 bytes.
func (k *StaticKey) UnmarshalText(text []byte) (err error) {
	*k, err = ParseKey(string(text))
	return err
}

// MarshalText is the inverse of UnmarshalText.
func (k StaticKey) MarshalText() ([]byte, error) {
	return base64.StdEncoding.AppendEncode(nil, k[:]), nil
}

// KubernetesRegistry uses the Nodes of Kubernetes.
type KubernetesRegistry struct {
	// Disabled turns the registry off.
	Disabled bool `json:"disabled"`
	// Kubeconfig is a path. It is "" for the service account of the pod.
	Kubeconfig string `json:"kubeconfig"`
	// NodeName is the name of this machine's Node. It is "" for the name that a kubelet takes.
	NodeName string `json:"nodeName"`
	// APIServerPort is published for a machine of the control plane. It is 0 for none.
	APIServerPort int `json:"apiServerPort"`
}

// ServiceRegistry uses discovery services.
type ServiceRegistry struct {
	// Disabled turns the registry off.
	Disabled bool `json:"disabled"`
	// Endpoint is the URL of the service.
	Endpoint ServiceURL `json:"endpoint"`
	// Endpoints are the URLs of several services. They take the place of Endpoint.
	Endpoints []ServiceURL `json:"endpoints"`
	// Protocol is "auto", "grpc" or "connect".
	Protocol string `json:"protocol"`
	// CA has further authorities for the certificates of the services, in PEM.
	CA string `json:"ca"`
}

// URLs returns the URLs of all services, passwords included, with the schemes https and http: grpc is another name for
// https. It returns none if the registry is disabled.
func (r ServiceRegistry) URLs() []string {
	if r.Disabled {
		return nil
	}
	endpoints := r.Endpoints
	if len(endpoints) == 0 {
		endpoints = []ServiceURL{r.Endpoint}
	}
	urls := make([]string, len(endpoints))
	for i, endpoint := range endpoints {
		scheme, rest, found := strings.Cut(endpoint.Reveal(), "://")
		if urls[i] = endpoint.Reveal(); found && strings.EqualFold(scheme, "grpc") {
			urls[i] = "https://" + rest
		}
	}
	return urls
}
