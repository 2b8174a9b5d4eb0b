package resource

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/peer"
	"github.com/spanmesh/span/schema"
)

// Type describes one type of resource.
type Type struct {
	// Name is the canonical name, such as "KubeSpanPeerStatuses".
	Name      string
	Namespace string
	// Aliases are the names that users may type, in small letters.
	Aliases []string
	// Columns are the headings of the table after ID and VERSION.
	Columns []string
	// cells are the values of a resource's row under Columns.
	cells func(spec any) []string
}

// Row returns the cells of a resource in the order ID, VERSION, then Columns.
func (t *Type) Row(r Resource) []string {
	return append([]string{r.ID, strconv.FormatUint(r.Version, 10)}, t.cells(r.Spec)...)
}

// Headings returns all headings of the type's table.
func (t *Type) Headings() []string { return append([]string{"ID", "VERSION"}, t.Columns...) }

// The types of resources, with the columns that talosctl shows.
var (
	Identities = &Type{
		Name: "KubeSpanIdentities", Namespace: "kubespan",
		Aliases: []string{"kubespanidentities", "kubespanidentity", "ksi", "ksis"},
		Columns: []string{"ADDRESS", "PUBLICKEY"},
		cells: func(spec any) []string {
			s := spec.(IdentitySpec)
			return []string{s.Address.String(), s.PublicKey.String()}
		},
	}
	PeerSpecs = &Type{
		Name: "KubeSpanPeerSpecs", Namespace: "kubespan",
		Aliases: []string{"kubespanpeerspecs", "kubespanpeerspec", "ksps"},
		Columns: []string{"LABEL", "ENDPOINTS"},
		cells: func(spec any) []string {
			s := spec.(PeerSpec)
			return []string{s.Label, jsonCell(s.Endpoints)}
		},
	}
	PeerStatuses = &Type{
		Name: "KubeSpanPeerStatuses", Namespace: "kubespan",
		Aliases: []string{"kubespanpeerstatuses", "kubespanpeerstatus", "ksps"},
		Columns: []string{"LABEL", "ENDPOINT", "STATE", "RX", "TX"},
		cells: func(spec any) []string {
			s := spec.(PeerStatus)
			endpoint := ""
			if s.Endpoint.IsValid() {
				endpoint = s.Endpoint.String()
			}
			return []string{s.Label, endpoint, string(s.State),
				strconv.FormatInt(s.ReceiveBytes, 10), strconv.FormatInt(s.TransmitBytes, 10)}
		},
	}
	Endpoints = &Type{
		Name: "KubeSpanEndpoints", Namespace: "kubespan",
		Aliases: []string{"kubespanendpoints", "kubespanendpoint", "kse", "kses"},
		Columns: []string{"ENDPOINT", "AFFILIATE ID"},
		cells: func(spec any) []string {
			s := spec.(Endpoint)
			return []string{s.Endpoint.String(), s.AffiliateID}
		},
	}
	Affiliates = &Type{
		Name: "Affiliates", Namespace: "cluster",
		Aliases: []string{"affiliates", "affiliate"},
		Columns: []string{"HOSTNAME", "MACHINE TYPE", "ADDRESSES"},
		cells: func(spec any) []string {
			s := spec.(Affiliate)
			return []string{s.Hostname, s.MachineType, jsonCell(s.Addresses)}
		},
	}
	Members = &Type{
		Name: "Members", Namespace: "cluster",
		Aliases: []string{"members", "member"},
		Columns: []string{"HOSTNAME", "MACHINE TYPE", "OS", "ADDRESSES"},
		cells: func(spec any) []string {
			s := spec.(Member)
			return []string{s.Hostname, s.MachineType, s.OperatingSystem, jsonCell(s.Addresses)}
		},
	}

	// MachineConfigs has the config in force, with every default.
	MachineConfigs = &Type{
		Name: "MachineConfigs", Namespace: "config",
		Aliases: []string{"machineconfigs", "machineconfig", "mc"},
		Columns: []string{"KUBESPAN", "DISCOVERY"},
		cells: func(spec any) []string {
			s := spec.(MachineConfig)
			return []string{strconv.FormatBool(s.KubeSpan().Enabled), strconv.FormatBool(s.Cluster.Discovery.Enabled)}
		},
	}

	EventType = &Type{
		Name: "Events", Namespace: "runtime",
		Aliases: []string{"events", "event", "ev"},
		Columns: []string{"LAST SEEN", "COUNT", "SEVERITY", "REASON", "OBJECT", "MESSAGE"},
		cells: func(spec any) []string {
			s := spec.(Event)
			return []string{s.Last.UTC().Format(time.RFC3339), strconv.Itoa(s.Count), string(s.Severity), s.Reason, s.Object, s.Message}
		},
	}

	// Types lists them all.
	Types = []*Type{Identities, PeerSpecs, PeerStatuses, Endpoints, Affiliates, Members, MachineConfigs, EventType}
)

// Lookup finds a type by what a user typed, in any case.
func Lookup(name string) (*Type, error) {
	var found []*Type
	for _, t := range Types {
		if slices.Contains(t.Aliases, strings.ToLower(name)) {
			found = append(found, t)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return nil, fmt.Errorf("no resource is called %q; there are: %s", name, strings.Join(names(Types), ", "))
	default:
		return nil, fmt.Errorf("%q is short for each of %s: name one", name, strings.Join(names(found), ", "))
	}
}

func names(types []*Type) []string {
	out := make([]string, len(types))
	for i, t := range types {
		out[i] = t.Aliases[0]
	}
	return out
}

// IdentitySpec is the spec of Identities. PrivateKey is filled in by whoever may
// show it, and hidden otherwise.
type IdentitySpec struct {
	Address    netip.Prefix    `json:"address"`
	Subnet     netip.Prefix    `json:"subnet"`
	PrivateKey mesh.PrivateKey `json:"-"`
	PublicKey  mesh.Key        `json:"publicKey"`
}

// Revealed is the spec as the machine's administrator may see it.
func (s IdentitySpec) Revealed() any {
	return struct {
		Address    netip.Prefix `json:"address"`
		Subnet     netip.Prefix `json:"subnet"`
		PrivateKey string       `json:"privateKey"`
		PublicKey  mesh.Key     `json:"publicKey"`
	}{s.Address, s.Subnet, s.PrivateKey.Reveal(), s.PublicKey}
}

// MachineConfig is the spec of MachineConfigs.
type MachineConfig struct{ *schema.Config }

// Revealed is the spec with its secrets.
func (s MachineConfig) Revealed() any { return s.Config.Revealed() }

// Affiliate is the spec of Affiliates.
type Affiliate struct {
	mesh.Affiliate
	// Refused says why the affiliate is not used, if it is not.
	Refused string `json:"refused,omitempty"`
}

// PeerSpec is the spec of PeerSpecs.
type PeerSpec struct {
	Address    netip.Addr       `json:"address"`
	AllowedIPs []netip.Prefix   `json:"allowedIPs"`
	Endpoints  []netip.AddrPort `json:"endpoints"`
	Label      string           `json:"label"`
	// Overlap says whose addresses this peer claims and goes without, if any.
	Overlap string `json:"overlap,omitempty"`
}

// PeerStatus is the spec of PeerStatuses.
type PeerStatus struct {
	Endpoint           netip.AddrPort `json:"endpoint,omitzero"`
	Label              string         `json:"label"`
	State              peer.State     `json:"state"`
	ReceiveBytes       int64          `json:"receiveBytes"`
	TransmitBytes      int64          `json:"transmitBytes"`
	LastHandshakeTime  time.Time      `json:"lastHandshakeTime,omitzero"`
	LastUsedEndpoint   netip.AddrPort `json:"lastUsedEndpoint,omitzero"`
	LastEndpointChange time.Time      `json:"lastEndpointChange,omitzero"`
	// Relay is the peer that carries the traffic of this one, if any.
	Relay string `json:"relay,omitempty"`
}

// Endpoint is the spec of Endpoints.
type Endpoint struct {
	AffiliateID string         `json:"affiliateID"`
	Endpoint    netip.AddrPort `json:"endpoint"`
}

// Member is the spec of Members.
type Member struct {
	NodeID          string       `json:"nodeId"`
	Addresses       []netip.Addr `json:"addresses"`
	Hostname        string       `json:"hostname"`
	MachineType     string       `json:"machineType"`
	OperatingSystem string       `json:"operatingSystem"`
}

// jsonCell shows a list in a table as talosctl does: ["a","b"].
func jsonCell[T any](list []T) string {
	if len(list) == 0 {
		return "[]"
	}
	text, err := json.Marshal(list)
	if err != nil {
		return "?" // not reached: addresses always marshal
	}
	return string(text)
}
