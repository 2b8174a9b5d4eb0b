package talos

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/spanmesh/span/schema/internal/field"
)

// patchKey is the field that makes a struct a patch.
const patchKey = "$patch"

// apiVersion is the version of all documents that are known here.
const apiVersion = "v1alpha1"

// document adds the settings of one document.
func (r *result) document(root *yaml.Node) {
	d := entries(root)
	kind := text(d, "kind")
	if kind == "" {
		r.machineConfig(root, d)
		return
	}
	from := "document " + kind
	take := map[string]func(){
		"KubeSpanConfig":          func() { r.claim("KubeSpan", from, root); r.kubespan(from, d, "apiVersion", "kind") },
		"KubeSpanEndpointsConfig": func() { r.claim(from, from, root); r.take(from, d, endpointSettings, "apiVersion", "kind") },
		"DiscoveryServiceConfig":  func() { r.service(from, root, d) },
		"DiscoveryIdentityConfig": func() { r.claim("the identity", from, root); r.identityDocument(from, root, d) },
	}[kind]
	switch {
	case take == nil && nearKind(kind) != "":
		r.problem(find(d, "kind").value, from, "is of no kind that Talos has", "kind: "+nearKind(kind))
	case take == nil:
		name := strings.TrimSpace(from + " " + text(d, "name"))
		if find(d, patchKey) != nil {
			name += ", which is a patch"
		}
		r.left = append(r.left, name)
		return
	case find(d, patchKey) != nil:
		r.patch(find(d, patchKey).key)
	case text(d, "apiVersion") != apiVersion:
		at := root
		if e := find(d, "apiVersion"); e != nil {
			at = e.value
		}
		r.problem(at, from, "has no apiVersion that is known here", "apiVersion: "+apiVersion)
	default:
		take()
	}
	r.known = true
}

// kinds are the kinds of the documents that are taken.
var kinds = []string{"KubeSpanConfig", "KubeSpanEndpointsConfig", "DiscoveryServiceConfig", "DiscoveryIdentityConfig"}

// nearKind returns the kind of a document that is taken for a misspelt one, or "".
func nearKind(kind string) string { return field.Nearest(kind, kinds) }

// patch records a patch, which needs the config that it is for.
func (r *result) patch(at *yaml.Node) {
	r.problem(at, patchKey, "makes this a patch, not a machine config", "the patched config, as `talosctl machineconfig patch` prints it")
}

// claim records that a document sets what only one may set.
func (r *result) claim(what, from string, at *yaml.Node) {
	if first := r.sections[what]; first != nil {
		r.problem(at, from, "sets "+strings.TrimPrefix(what, "document ")+" again, which Talos refuses",
			"it in one document only: the first is in line "+itoa(first.Line))
		return
	}
	r.sections[what] = at
}

// machineConfig adds the settings of the document v1alpha1, which has a machine and a cluster.
func (r *result) machineConfig(root *yaml.Node, d []entry) {
	if find(d, "metadata") != nil && find(d, "spec") != nil {
		r.problem(root, "", "is the resource that `talosctl get machineconfig` prints", "its spec: `talosctl get machineconfig v1alpha1 -o jsonpath='{.spec}'`")
		return
	}
	if find(d, "machine") == nil && find(d, "cluster") == nil && find(d, "version") == nil {
		r.left = append(r.left, "a document that is not a machine config")
		return
	}
	r.known = true
	r.claim("the document with machine and cluster", "document", root)
	r.version(d)
	r.rest("", d, "version", "machine", "cluster")

	machine, _ := r.section("", d, "machine")
	network, _ := r.section("machine", machine, "network")
	if section, at := r.section("machine.network", network, "kubespan"); at != nil {
		r.claim("KubeSpan", kubespan, at)
		r.kubespan(kubespan, section)
	}
	r.rest("machine.network", network, "kubespan")
	r.rest("machine", machine, "network")

	cluster, _ := r.section("", d, "cluster")
	if section, at := r.section("cluster", cluster, "discovery"); at != nil {
		r.claim("discovery", discovery, at)
		r.discovery(section)
	}
	if at := identityOf(cluster); at != nil {
		r.claim("the identity", "cluster."+at.Value, at)
	}
	for _, e := range cluster {
		for _, s := range clusterIdentity {
			if e.name == s.name {
				r.copyIdentity("cluster."+e.name, s, e)
			}
		}
	}
	r.rest("cluster", cluster, "id", "secret", "discovery")
}

// version records a version of the document v1alpha1 that is another.
func (r *result) version(d []entry) {
	if e := find(d, "version"); e != nil && !isNull(e.value) && text(d, "version") != apiVersion {
		r.problem(e.value, "version", "is no version of a Talos machine config that is known here", "version: "+apiVersion)
	}
}

// identityOf returns the name of a cluster's ID or secret, if it has one.
func identityOf(cluster []entry) *yaml.Node {
	for _, s := range clusterIdentity {
		if e := find(cluster, s.name); e != nil && (e.value.Kind != yaml.ScalarNode || text(cluster, s.name) != "") {
			return e.key
		}
	}
	return nil
}

// examples are the sections as they are in many files.
var examples = map[string]string{
	"machine": "machine: {network: {kubespan: {enabled: true}}}", "network": "network: {kubespan: {enabled: true}}", "kubespan": "kubespan: {enabled: true}",
	"filters": `filters: {endpoints: ["0.0.0.0/0", "::/0"]}`, "cluster": "cluster: {discovery: {enabled: true}}", "discovery": "discovery: {enabled: true}",
	"registries": "registries: {service: {}}", "service": "service: {disabled: false}", "kubernetes": "kubernetes: {disabled: true}",
}

// section returns a struct in a struct with its name's node, or nil if it is not there or null.
func (r *result) section(from string, d []entry, name string) ([]entry, *yaml.Node) {
	e := find(d, name)
	switch {
	case e == nil || isNull(e.value):
		return nil, nil
	case e.value.Kind != yaml.MappingNode:
		r.problem(e.value, join(from, name), "is "+article(e.value)+" where a struct belongs", "it as in Talos, such as "+examples[name])
		return nil, nil
	}
	return entries(e.value), e.key
}

// kubespan adds the settings of KubeSpan. From is their place in the file.
func (r *result) kubespan(from string, d []entry, known ...string) {
	r.take(from, d, kubespanSettings, append(known, "filters")...)
	filters, _ := r.section(from, d, "filters")
	r.take(from+".filters", filters, filterSettings)
}

// discovery adds the settings of cluster.discovery.
func (r *result) discovery(d []entry) {
	r.take(discovery, d, discoverySettings, "registries")
	registries, _ := r.section(discovery, d, "registries")
	r.take(discovery+".registries", registries, nil, "service", "kubernetes")
	section, _ := r.section(discovery+".registries", registries, "service")
	r.take(service, section, serviceSettings)
	if e := find(section, "endpoint"); e != nil {
		r.shorten(service+".endpoint", e.value)
	}
	kubernetes, at := r.section(discovery+".registries", registries, "kubernetes")
	from := discovery + ".registries.kubernetes"
	r.take(from, kubernetes, kubernetesSettings)
	if e := find(kubernetes, "disabled"); e != nil {
		if disabled, _, fits := decode(boolean, e.value); !fits || disabled == true {
			return
		}
	}
	if at != nil {
		r.sections["Kubernetes"] = at
	}
}

// shorten leaves out of a service's URL what Talos does not use.
func (r *result) shorten(path string, at *yaml.Node) {
	text, _ := r.get(path).(string)
	short, changed := serviceURL(text)
	if changed {
		r.set(path, short, origin{})
		r.warn(at, r.origins[path].name, "is taken without what Talos does not use: all but the scheme, the host and the port")
	}
}

// service adds the service of a document. Having one enables discovery.
func (r *result) service(from string, root *yaml.Node, d []entry) {
	const (
		anyService = "a discovery service"
		one        = "service"
	)
	r.claim(strings.TrimSpace(from+" "+text(d, "name")), from, root)
	if r.sections[anyService] == nil {
		r.claim("discovery", from, root)
		r.sections[anyService] = root
	}
	scratch := &result{file: r.file, lines: r.lines, settings: map[string]any{}, origins: map[string]origin{}}
	scratch.take(from, d, []setting{{"endpoint", word, one}, {"name", word, ""}}, "apiVersion", "kind")
	r.problems = append(r.problems, scratch.problems...)
	if text(d, "name") == "" {
		r.problem(root, from+".name", "is missing", "a name, which each DiscoveryServiceConfig needs")
	}
	endpoint, found := scratch.get(one).(string)
	if !found {
		if len(scratch.problems) == 0 {
			r.problem(root, from+".endpoint", "is missing", "the URL of a discovery service")
		}
		return
	}
	r.left = append(r.left, "the name of document DiscoveryServiceConfig "+text(d, "name"))
	at := find(d, "endpoint").value
	short, changed := serviceURL(endpoint)
	if changed {
		r.warn(at, from+".endpoint", "is taken without what Talos does not use: all but the scheme, the host and the port")
	}
	r.origins[service+".endpoints["+itoa(len(r.services))+"]"] = origin{from + ".endpoint", at}
	r.services = append(r.services, short)
	r.set(discovery+".enabled", true, origin{from, root})
}

// identityDocument adds the ID and secret of a document.
func (r *result) identityDocument(from string, root *yaml.Node, d []entry) {
	r.take(from, d, nil, "apiVersion", "kind", "clusterID", "clusterSecret")
	for _, s := range documentIdentity {
		if e := find(d, s.name); e != nil && !isNull(e.value) {
			r.copyIdentity(from+"."+s.name, s, *e)
		} else {
			r.problem(root, from+"."+s.name, "is missing", "both clusterID and clusterSecret")
		}
	}
}

// copyIdentity copies an ID or a secret. Talos decodes a secret without its line breaks, such as that
// of a block scalar.
func (r *result) copyIdentity(from string, s setting, e entry) {
	r.copy(from, s, e)
	if secret, ok := r.get(s.to).(string); ok && s.to == "cluster.secret" {
		r.set(s.to, strings.NewReplacer("\r", "", "\n", "").Replace(secret), origin{})
	}
}

// rest records the fields other than the known ones as left out.
func (r *result) rest(from string, d []entry, known ...string) {
	for _, e := range d {
		switch {
		case e.name == patchKey:
			r.patch(e.key)
		case !slices.Contains(known, e.name):
			r.left = append(r.left, join(from, e.name))
		}
	}
}
