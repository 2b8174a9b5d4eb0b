package discoverykube

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/spanmesh/span/reconciler/mesh"
)

// The annotations of KubeSpan on Talos Linux. Lists are separated by commas.
const (
	annotationNodeID    = "cluster.talos.dev/node-id"
	annotationAddresses = "networking.talos.dev/self-ips"
	annotationPort      = "networking.talos.dev/api-server-port"
	annotationAddress   = "networking.talos.dev/kubespan-ip"
	annotationKey       = "networking.talos.dev/kubespan-public-key"
	annotationPrefixes  = "networking.talos.dev/assigned-prefixes"
	annotationEndpoints = "networking.talos.dev/kubespan-endpoints"
	annotationExcluded  = "networking.talos.dev/kubespan-exclude-advertised-networks"
)

// annotations has all of them.
var annotations = []string{
	annotationNodeID, annotationAddresses, annotationPort, annotationAddress,
	annotationKey, annotationPrefixes, annotationEndpoints, annotationExcluded,
}

// The limits on what the annotations of a Node may have. They are those of a discovery
// service.
const (
	maxNodeID   = 256
	maxList     = 256
	maxEndpoint = 64
	maxPort     = 65535
)

// encode returns the annotations of an affiliate. Empty fields have none.
func encode(a mesh.Affiliate) map[string]string {
	out := map[string]string{}
	set := func(name, value string) {
		if value != "" {
			out[name] = value
		}
	}
	set(annotationNodeID, a.NodeID)
	set(annotationAddresses, join(a.Addresses))
	if a.ControlPlane.APIServerPort != 0 {
		set(annotationPort, strconv.Itoa(a.ControlPlane.APIServerPort))
	}
	k := a.KubeSpan
	if k.IsZero() {
		return out
	}
	set(annotationKey, k.PublicKey.String())
	if k.Address.IsValid() {
		set(annotationAddress, k.Address.String())
	}
	set(annotationPrefixes, join(k.AdditionalAddresses))
	// There is no annotation that says which of them are relays'.
	set(annotationEndpoints, join(k.OwnEndpoints()))
	set(annotationExcluded, join(k.ExcludeAdvertisedNetworks))
	return out
}

func join[T fmt.Stringer](values []T) string {
	texts := make([]string, len(values))
	for i, v := range values {
		texts[i] = v.String()
	}
	return strings.Join(texts, ",")
}

// decode returns the affiliate of a Node. A Node without a node ID has none: its machine is
// not in the mesh. The error names the first annotation that is invalid.
func decode(n node) (a mesh.Affiliate, found bool, err error) {
	id := n.annotations[annotationNodeID]
	if id == "" {
		return a, false, nil
	}
	if len(id) > maxNodeID {
		return mesh.Affiliate{NodeID: id[:maxNodeID]}, true, fmt.Errorf("annotation %s has %d bytes: want at most %d", annotationNodeID, len(id), maxNodeID)
	}
	a = mesh.Affiliate{NodeID: id, Nodename: n.name, Hostname: n.hostname, OperatingSystem: n.osImage, MachineType: mesh.MachineTypeWorker}
	if a.Hostname == "" {
		a.Hostname = n.name
	}
	if n.isControlPlane() {
		a.MachineType = mesh.MachineTypeControlPlane
	}
	r := reader{annotations: n.annotations}
	a.Addresses = many(&r, annotationAddresses, maxList, netip.ParseAddr)
	a.ControlPlane.APIServerPort = one(&r, annotationPort, parsePort)
	a.KubeSpan = mesh.KubeSpan{
		PublicKey:                 one(&r, annotationKey, mesh.ParseKey),
		Address:                   one(&r, annotationAddress, netip.ParseAddr),
		AdditionalAddresses:       many(&r, annotationPrefixes, maxList, netip.ParsePrefix),
		ExcludeAdvertisedNetworks: many(&r, annotationExcluded, maxList, netip.ParsePrefix),
		Endpoints:                 many(&r, annotationEndpoints, maxEndpoint, netip.ParseAddrPort),
	}
	if a.KubeSpan.IsZero() {
		a.KubeSpan = mesh.KubeSpan{}
	}
	return a, true, r.err
}

// reader reads annotations until one is invalid.
type reader struct {
	annotations map[string]string
	err         error
}

func (r *reader) fail(name, value string, err error) {
	if r.err == nil {
		const shown = 60
		if len(value) > shown {
			value = strings.ToValidUTF8(value[:shown], "") + "…"
		}
		r.err = fmt.Errorf("annotation %s has %q: %w", name, value, err)
	}
}

// one reads a single value. It returns the zero value if there is none.
func one[T any](r *reader, name string, parse func(string) (T, error)) (v T) {
	text := r.annotations[name]
	if text == "" {
		return v
	}
	parsed, err := parse(text)
	if err != nil {
		r.fail(name, text, err)
		return v
	}
	return parsed
}

// many reads a list of at most limit values.
func many[T any](r *reader, name string, limit int, parse func(string) (T, error)) (values []T) {
	text := r.annotations[name]
	if text == "" {
		return nil
	}
	for part := range strings.SplitSeq(text, ",") {
		if len(values) == limit {
			r.fail(name, text, fmt.Errorf("want at most %d", limit))
			return nil
		}
		v, err := parse(strings.TrimSpace(part))
		if err != nil {
			r.fail(name, part, err)
			return nil
		}
		values = append(values, v)
	}
	return values
}

func parsePort(text string) (int, error) {
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil || port == 0 {
		return 0, fmt.Errorf("want a port from 1 to %d", maxPort)
	}
	return int(port), nil
}
