package schema

import (
	"encoding"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// Config is a complete machine config with every default filled in.
// It is a value to read: nothing in spanctl changes one after Load.
type Config struct {
	Machine Machine `json:"machine"`
	Cluster Cluster `json:"cluster"`
}

// KubeSpan is a shorthand for c.Machine.Network.KubeSpan.
func (c *Config) KubeSpan() *KubeSpan { return &c.Machine.Network.KubeSpan }

// Machine holds the settings of one machine alone.
type Machine struct {
	Network Network `json:"network"`
}

// Network holds the network settings of a machine.
type Network struct {
	KubeSpan KubeSpan `json:"kubespan"`
}

// KubeSpan holds the settings of the mesh on one machine; machine.cue
// documents each field.
type KubeSpan struct {
	Enabled                     bool             `json:"enabled"`
	AdvertiseKubernetesNetworks bool             `json:"advertiseKubernetesNetworks"`
	AllowDownPeerBypass         bool             `json:"allowDownPeerBypass"`
	HarvestExtraEndpoints       bool             `json:"harvestExtraEndpoints"`
	MTU                         MTU              `json:"mtu"`
	Filters                     Filters          `json:"filters"`
	ExtraAnnouncedEndpoints     []netip.AddrPort `json:"extraAnnouncedEndpoints"`
	AdvertisedNetworks          []netip.Prefix   `json:"advertisedNetworks"`
	Addresses                   []netip.Prefix   `json:"addresses"`
	Bypass                      []netip.Prefix   `json:"bypass"`
	Relay                       Relay            `json:"relay"`
	ListenPort                  int              `json:"listenPort"`
	InterfaceName               string           `json:"interfaceName"`
	RoutingTable                int              `json:"routingTable"`
	RulePriority                int              `json:"rulePriority"`
	FirewallMark                uint32           `json:"fwmark"`
	// PersistentKeepalive is in seconds.
	PersistentKeepalive int `json:"persistentKeepalive"`
}

// MTU is in bytes; AutoMTU asks for what the path leaves room for.
type MTU int

// AutoMTU is the MTU "auto".
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

// Relay says whether this machine carries the traffic of others, and whether
// others may carry its own.
type Relay struct {
	Offer bool `json:"offer"`
	Use   bool `json:"use"`
}

// Filters choose addresses and networks.
type Filters struct {
	Endpoints                 []Filter       `json:"endpoints"`
	PeerEndpoints             []Filter       `json:"peerEndpoints"`
	ExcludeAdvertisedNetworks []netip.Prefix `json:"excludeAdvertisedNetworks"`
}

// Filter is one entry of an address filter: a network, or with a leading "!"
// the exclusion of a network.
type Filter struct {
	Prefix  netip.Prefix
	Exclude bool
}

var (
	_ encoding.TextUnmarshaler = (*Filter)(nil)
	_ encoding.TextMarshaler   = Filter{}
)

// UnmarshalText parses "10.0.0.0/8" or "!10.0.0.0/8".
func (f *Filter) UnmarshalText(text []byte) error {
	cidr, exclude := strings.CutPrefix(string(text), "!")
	prefix, err := netip.ParsePrefix(cidr)
	if err != nil {
		return fmt.Errorf("%q is not a network in CIDR notation", text)
	}
	*f = Filter{Prefix: prefix.Masked(), Exclude: exclude}
	return nil
}

// MarshalText is the inverse of UnmarshalText.
func (f Filter) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

func (f Filter) String() string {
	if f.Exclude {
		return "!" + f.Prefix.String()
	}
	return f.Prefix.String()
}

// Cluster holds what the machines of a cluster share.
type Cluster struct {
	// ID names the cluster. It is used as written, never decoded.
	ID        string    `json:"id"`
	Secret    Secret    `json:"secret"`
	Discovery Discovery `json:"discovery"`
}

// Discovery says how machines find each other.
type Discovery struct {
	Enabled    bool       `json:"enabled"`
	Registries Registries `json:"registries"`
}

// Registries are the places where machines publish themselves.
type Registries struct {
	Kubernetes KubernetesRegistry `json:"kubernetes"`
	Service    ServiceRegistry    `json:"service"`
	Static     StaticRegistry     `json:"static"`
}

// StaticRegistry holds peers that the config itself describes.
type StaticRegistry struct {
	Peers []StaticPeer `json:"peers"`
}

// StaticPeer is a peer that the config itself describes.
type StaticPeer struct {
	Name      string           `json:"name"`
	PublicKey StaticKey        `json:"publicKey"`
	Endpoints []netip.AddrPort `json:"endpoints"`
	// AllowedIPs are the peer's networks, masked.
	AllowedIPs []netip.Prefix `json:"allowedIPs"`
	// PresharedKey is empty where none was set.
	PresharedKey Secret `json:"presharedKey"`
}

// StaticKey is the public key of a static peer.
type StaticKey [keyLength]byte

// UnmarshalText reads the base64 of 32 bytes.
func (k *StaticKey) UnmarshalText(text []byte) (err error) {
	*k, err = decodeKey(string(text))
	return err
}

// MarshalText is the inverse of UnmarshalText.
func (k StaticKey) MarshalText() ([]byte, error) {
	return base64.StdEncoding.AppendEncode(nil, k[:]), nil
}

// KubernetesRegistry uses Kubernetes Nodes.
type KubernetesRegistry struct {
	Disabled bool `json:"disabled"`
	// Kubeconfig is a path, "" for the service account of the pod.
	Kubeconfig string `json:"kubeconfig"`
	// NodeName is "" for what a kubelet would take.
	NodeName string `json:"nodeName"`
	// APIServerPort is 0 for none.
	APIServerPort int `json:"apiServerPort"`
}

// ServiceRegistry uses a discovery service.
type ServiceRegistry struct {
	Disabled  bool     `json:"disabled"`
	Endpoint  string   `json:"endpoint"`
	Endpoints []string `json:"endpoints"`
	// Protocol is "auto", "grpc" or "connect".
	Protocol string `json:"protocol"`
	CA       string `json:"ca"`
}

// AskOthers tells whether a registry asks others for the machines of the cluster.
func (r *Registries) AskOthers() bool { return !r.Service.Disabled || !r.Kubernetes.Disabled }

// AsksKubernetes tells whether a Kubernetes API server is asked: for the machines of the
// cluster, or for the networks of the pods on this one.
func (c *Config) AsksKubernetes() bool {
	return c.Cluster.Discovery.Enabled && (!c.Cluster.Discovery.Registries.Kubernetes.Disabled || c.KubeSpan().AdvertiseKubernetesNetworks)
}

// AsksDiscovery tells whether anybody is asked.
func (c *Config) AsksDiscovery() bool {
	return c.Cluster.Discovery.Enabled && (c.Cluster.Discovery.Registries.AskOthers() || c.AsksKubernetes())
}

// URLs are those of all services; none where the registry is disabled.
func (r ServiceRegistry) URLs() []string {
	if r.Disabled {
		return nil
	}
	if len(r.Endpoints) > 0 {
		return r.Endpoints
	}
	return []string{r.Endpoint}
}

// keyLength is the length in bytes of a cluster ID and of a cluster secret.
const keyLength = 32

// urlToStd maps the URL-safe base64 alphabet to the standard one (RFC 4648,
// sections 4 and 5): generators of cluster IDs use either.
var urlToStd = strings.NewReplacer("-", "+", "_", "/")

func decodeKey(text string) (key [keyLength]byte, err error) {
	raw, err := base64.StdEncoding.DecodeString(urlToStd.Replace(text))
	if err != nil || strings.ContainsAny(text, "\r\n") {
		return key, errors.New("is not base64")
	}
	if len(raw) != keyLength {
		return key, fmt.Errorf("decodes to %d bytes, not %d", len(raw), keyLength)
	}
	return [keyLength]byte(raw), nil
}
