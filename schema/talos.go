package schema

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Imported is a machine config made from another's.
type Imported struct {
	// Data is the config in the format that was asked for.
	Data []byte
	// Left are the fields and documents that were left out, in the order of the file.
	Left []string
	// Notes say what was added, and what is to be done about it.
	Notes []string
}

// ImportTalos makes a machine config out of one of Talos: of the single document of its
// earlier versions and of the documents of later ones (docs.siderolabs.com, reference,
// configuration). Name tells the format of the result. What has no cluster ID and secret
// yet, as before Talos 0.12, gets new ones of random.
func ImportTalos(name string, talos Source, random io.Reader) (Imported, error) {
	in := talosImport{file: talos.Name, out: map[string]any{}}
	decoder := yaml.NewDecoder(bytes.NewReader(talos.Data))
	count := 0
	for {
		var document map[string]any
		err := decoder.Decode(&document)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return Imported{}, Problems{{File: talos.Name, Reason: scrub(err.Error()), Want: "a Talos machine config, in YAML"}}
		}
		if document != nil {
			count++
			in.document(document)
		}
	}
	if count == 0 || !in.known {
		return Imported{}, Problems{{File: talos.Name, Reason: "has nothing of a Talos machine config", Want: "what `talosctl get machineconfig -o yaml` has under spec, or `talosctl gen config` wrote"}}
	}
	if len(in.problems) > 0 {
		return Imported{}, in.problems
	}
	if err := in.complete(random); err != nil {
		return Imported{}, err
	}
	data, err := written(name, in.out)
	if err != nil {
		return Imported{}, err
	}
	if formatOf(name) != FormatJSON {
		mark := map[Format]string{FormatCUE: "//", FormatYAML: "#"}[formatOf(name)]
		data = append([]byte(mark+" Made from a Talos machine config by `spanctl import talos`.\n"), data...)
	}
	_, err = Load(name, data)
	return Imported{Data: data, Left: in.left, Notes: in.notes}, err
}

// talosImport is a config on its way from Talos.
type talosImport struct {
	file     string
	out      map[string]any
	left     []string
	notes    []string
	problems Problems
	// known tells that something was recognized, endpoints are the services found.
	known     bool
	endpoints []any
}

// kubespanFields are those that both have, by the same names.
var kubespanFields = []string{"enabled", "advertiseKubernetesNetworks", "allowDownPeerBypass", "harvestExtraEndpoints", "mtu"}

var filterFields = []string{"endpoints", "peerEndpoints", "excludeAdvertisedNetworks"}

// document takes in one of the file's.
func (t *talosImport) document(d map[string]any) {
	kind, _ := d["kind"].(string)
	name, _ := d["name"].(string)
	if d[directive] != nil {
		t.left = append(t.left, strings.TrimSpace("document "+kind+" "+name)+", which is a patch")
		return
	}
	switch kind {
	case "":
		t.machineConfig(d)
	case "KubeSpanConfig":
		t.known = true
		t.kubespan("document "+kind, d, "apiVersion", "kind")
	case "KubeSpanEndpointsConfig", "KubespanEndpointsConfig":
		t.known = true
		t.take("document "+kind, d, "machine.network.kubespan", []string{"extraAnnouncedEndpoints"}, "apiVersion", "kind")
	case "DiscoveryServiceConfig":
		t.known = true
		t.set("document "+kind, "cluster.discovery.enabled", true)
		if d["endpoint"] != nil {
			t.endpoints = append(t.endpoints, d["endpoint"])
		}
		t.rest("document "+kind, d, "apiVersion", "kind", "name", "endpoint")
	case "DiscoveryIdentityConfig":
		t.known = true
		t.rename("document "+kind, d, "clusterID", "cluster.id")
		t.rename("document "+kind, d, "clusterSecret", "cluster.secret")
		t.rest("document "+kind, d, "apiVersion", "kind", "clusterID", "clusterSecret")
	default:
		t.left = append(t.left, strings.TrimSpace("document "+kind+" "+name))
	}
}

// machineConfig takes in the document of earlier versions, with a machine and a cluster.
func (t *talosImport) machineConfig(d map[string]any) {
	machine, cluster := child(d, "machine"), child(d, "cluster")
	if machine == nil && cluster == nil && d["version"] == nil {
		t.left = append(t.left, "a document that is no machine config")
		return
	}
	t.known = true
	t.rest("", d, "version", "machine", "cluster")
	network := child(machine, "network")
	if kubespan := child(network, "kubespan"); kubespan != nil {
		t.kubespan("machine.network.kubespan", kubespan)
	}
	t.rest("machine.network", network, "kubespan")
	t.rest("machine", machine, "network")

	t.rename("cluster", cluster, "id", "cluster.id")
	t.rename("cluster", cluster, "secret", "cluster.secret")
	discovery := child(cluster, "discovery")
	if discovery != nil {
		t.discovery(discovery)
	}
	t.rest("cluster", cluster, "id", "secret", "discovery")
}

func (t *talosImport) kubespan(from string, d map[string]any, known ...string) {
	t.take(from, d, "machine.network.kubespan", kubespanFields, append(known, "filters")...)
	if filters := child(d, "filters"); filters != nil {
		t.take(from+".filters", filters, "machine.network.kubespan.filters", filterFields)
	}
}

func (t *talosImport) discovery(d map[string]any) {
	t.take("cluster.discovery", d, "cluster.discovery", []string{"enabled"}, "registries")
	registries := child(d, "registries")
	service := child(registries, "service")
	t.take("cluster.discovery.registries.service", service, "cluster.discovery.registries.service", []string{"disabled"}, "endpoint")
	if endpoint := service["endpoint"]; endpoint != nil && endpoint != "" {
		t.endpoints = append(t.endpoints, endpoint)
	}
	if kubernetes := child(registries, "kubernetes"); kubernetes != nil && kubernetes["disabled"] != true {
		t.left = append(t.left, "cluster.discovery.registries.kubernetes: it needs a kubeconfig of this machine, see docs/kubernetes.md")
	}
	t.rest("cluster.discovery.registries", registries, "service", "kubernetes")
}

// take copies fields to below a path, and notes what else there is as left out.
func (t *talosImport) take(from string, d map[string]any, to string, fields []string, known ...string) {
	for _, name := range fields {
		if d[name] != nil {
			t.set(from+"."+name, to+"."+name, d[name])
		}
	}
	t.rest(from, d, append(known, fields...)...)
}

func (t *talosImport) rename(from string, d map[string]any, name, to string) {
	if d[name] != nil && d[name] != "" {
		t.set(from+"."+name, to, d[name])
	}
}

// set sets a field of the result, and refuses to do so twice with different values.
func (t *talosImport) set(from, to string, value any) {
	path := strings.Split(to, ".")
	at := t.out
	for _, name := range path[:len(path)-1] {
		inner, ok := at[name].(map[string]any)
		if !ok {
			inner = map[string]any{}
			at[name] = inner
		}
		at = inner
	}
	last := path[len(path)-1]
	if before, set := at[last]; set && fmt.Sprint(before) != fmt.Sprint(value) {
		t.problems = append(t.problems, Problem{File: t.file, Path: from, Reason: "is set twice, with different values", Want: "it in one document only"})
		return
	}
	at[last] = value
}

// rest notes the fields beside known ones as left out.
func (t *talosImport) rest(from string, d map[string]any, known ...string) {
	for _, name := range sortedKeys(d) {
		if !slices.Contains(known, name) {
			t.left = append(t.left, strings.TrimPrefix(from+"."+name, "."))
		}
	}
}

// complete adds what Talos had not yet, or has by default.
func (t *talosImport) complete(random io.Reader) error {
	switch len(t.endpoints) {
	case 0:
	case 1:
		t.set(t.file, "cluster.discovery.registries.service.endpoint", t.endpoints[0])
	default:
		t.set(t.file, "cluster.discovery.registries.service.endpoints", t.endpoints)
	}
	t.enable()
	return t.identify(random)
}

// enable enables what the config does not speak of.
func (t *talosImport) enable() {
	kubespan := child(child(child(t.out, "machine"), "network"), "kubespan")["enabled"] != nil
	discovery := child(child(t.out, "cluster"), "discovery")["enabled"] != nil
	if !kubespan {
		t.set(t.file, "machine.network.kubespan.enabled", true)
	}
	if !discovery {
		t.set(t.file, "cluster.discovery.enabled", true)
	}
	switch {
	case !kubespan && !discovery:
		t.notes = append(t.notes, "the config had neither KubeSpan nor discovery: both are enabled now")
	case !kubespan:
		t.notes = append(t.notes, "the config had no KubeSpan: it is enabled now")
	case !discovery:
		t.notes = append(t.notes, "the config did not say whether discovery is enabled: it is now")
	}
}

// identify makes the cluster's ID and secret where there are none.
func (t *talosImport) identify(random io.Reader) error {
	cluster := child(t.out, "cluster")
	if cluster["id"] != nil && cluster["secret"] != nil {
		return nil
	}
	secrets, err := GenerateSecrets(random)
	if err != nil {
		return err
	}
	for _, one := range []struct{ name, text string }{{"id", secrets.ID}, {"secret", secrets.Secret.Reveal()}} {
		if cluster[one.name] != nil {
			continue
		}
		t.set(t.file, "cluster."+one.name, one.text)
		t.notes = append(t.notes, "cluster."+one.name+" is new: every machine of the cluster, those with Talos too, needs the same one")
	}
	return nil
}

// child is a struct in a struct; nil if there is none.
func child(d map[string]any, name string) map[string]any {
	inner, ok := d[name].(map[string]any)
	if !ok && d != nil {
		if _, there := d[name]; there && d[name] == nil {
			return map[string]any{} // written down, and empty
		}
	}
	return inner
}
