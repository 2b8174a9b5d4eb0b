package talos

import (
	"maps"
	"slices"
	"strings"
)

// kubespanFields are the fields of kubespan that Talos and spanctl have by the same names.
var kubespanFields = []string{"enabled", "advertiseKubernetesNetworks", "allowDownPeerBypass", "harvestExtraEndpoints", "mtu"}

// filterFields are the fields of filters that Talos and spanctl have by the same names.
var filterFields = []string{"endpoints", "peerEndpoints", "excludeAdvertisedNetworks"}

// document adds the settings of one document.
func (r *result) document(d map[string]any) {
	kind, _ := d["kind"].(string)
	name, _ := d["name"].(string)
	if d["$patch"] != nil {
		r.left = append(r.left, strings.TrimSpace("document "+kind+" "+name)+", which is a patch")
		return
	}
	switch kind {
	case "":
		r.machineConfig(d)
	case "KubeSpanConfig":
		r.known = true
		r.kubespan("document "+kind, d, "apiVersion", "kind")
	case "KubeSpanEndpointsConfig", "KubespanEndpointsConfig":
		r.known = true
		r.take("document "+kind, d, "machine.network.kubespan", []string{"extraAnnouncedEndpoints"}, "apiVersion", "kind")
	case "DiscoveryServiceConfig":
		r.known = true
		r.set("document "+kind, "cluster.discovery.enabled", true)
		if d["endpoint"] != nil {
			r.endpoints = append(r.endpoints, d["endpoint"])
		}
		r.rest("document "+kind, d, "apiVersion", "kind", "name", "endpoint")
	case "DiscoveryIdentityConfig":
		r.known = true
		r.rename("document "+kind, d, "clusterID", "cluster.id")
		r.rename("document "+kind, d, "clusterSecret", "cluster.secret")
		r.rest("document "+kind, d, "apiVersion", "kind", "clusterID", "clusterSecret")
	default:
		r.left = append(r.left, strings.TrimSpace("document "+kind+" "+name))
	}
}

// machineConfig adds the settings of the document v1alpha1, which has a machine and a cluster.
func (r *result) machineConfig(d map[string]any) {
	machine, cluster := child(d, "machine"), child(d, "cluster")
	if machine == nil && cluster == nil && d["version"] == nil {
		r.left = append(r.left, "a document that is not a machine config")
		return
	}
	r.known = true
	r.rest("", d, "version", "machine", "cluster")
	network := child(machine, "network")
	if kubespan := child(network, "kubespan"); kubespan != nil {
		r.kubespan("machine.network.kubespan", kubespan)
	}
	r.rest("machine.network", network, "kubespan")
	r.rest("machine", machine, "network")

	r.rename("cluster", cluster, "id", "cluster.id")
	r.rename("cluster", cluster, "secret", "cluster.secret")
	discovery := child(cluster, "discovery")
	if discovery != nil {
		r.discovery(discovery)
	}
	r.rest("cluster", cluster, "id", "secret", "discovery")
}

// kubespan adds the settings of KubeSpan. From is their place in the file.
func (r *result) kubespan(from string, d map[string]any, known ...string) {
	r.take(from, d, "machine.network.kubespan", kubespanFields, append(known, "filters")...)
	if filters := child(d, "filters"); filters != nil {
		r.take(from+".filters", filters, "machine.network.kubespan.filters", filterFields)
	}
}

// discovery adds the settings of cluster.discovery.
func (r *result) discovery(d map[string]any) {
	r.take("cluster.discovery", d, "cluster.discovery", []string{"enabled"}, "registries")
	registries := child(d, "registries")
	service := child(registries, "service")
	r.take("cluster.discovery.registries.service", service, "cluster.discovery.registries.service", []string{"disabled"}, "endpoint")
	if endpoint := service["endpoint"]; endpoint != nil && endpoint != "" {
		r.endpoints = append(r.endpoints, endpoint)
	}
	if kubernetes := child(registries, "kubernetes"); kubernetes != nil && kubernetes["disabled"] != true {
		r.left = append(r.left, "cluster.discovery.registries.kubernetes: it needs a kubeconfig on this machine, see docs/kubernetes.md")
	}
	r.rest("cluster.discovery.registries", registries, "service", "kubernetes")
}

// take copies fields to a path, and records all other fields as left out.
func (r *result) take(from string, d map[string]any, to string, fields []string, known ...string) {
	for _, name := range fields {
		if d[name] != nil {
			r.set(from+"."+name, to+"."+name, d[name])
		}
	}
	r.rest(from, d, append(known, fields...)...)
}

// rename copies a field that spanctl has at another path.
func (r *result) rename(from string, d map[string]any, name, to string) {
	if d[name] != nil && d[name] != "" {
		r.set(from+"."+name, to, d[name])
	}
}

// rest records the fields other than the known ones as left out.
func (r *result) rest(from string, d map[string]any, known ...string) {
	for _, name := range slices.Sorted(maps.Keys(d)) {
		if !slices.Contains(known, name) {
			r.left = append(r.left, strings.TrimPrefix(from+"."+name, "."))
		}
	}
}

// child returns a struct in a struct. It is nil if the field is missing, and empty if it is null.
func child(d map[string]any, name string) map[string]any {
	inner, ok := d[name].(map[string]any)
	if !ok && d != nil {
		if _, there := d[name]; there && d[name] == nil {
			return map[string]any{}
		}
	}
	return inner
}
