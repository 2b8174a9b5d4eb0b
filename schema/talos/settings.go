package talos

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/spanmesh/span/schema/internal/field"
	"github.com/spanmesh/span/schema/internal/files"
)

// kind is what a setting of Talos takes. Values are decoded as Talos' YAML library decodes them: yes
// is true, and a number is a text where one belongs.
type kind int

const (
	boolean kind = iota
	number
	word
	words
)

// wants says in words what a kind takes.
var wants = map[kind]string{boolean: "true or false", number: "a whole number, from 0", word: "a text", words: "a list of texts"}

// setting is a field of Talos that spanctl has by another path or the same.
type setting struct {
	name string
	kind kind
	// to is the path in the new config.
	to string
}

const (
	kubespan       = "machine.network.kubespan"
	endpointFilter = kubespan + ".filters.endpoints"
	discovery      = "cluster.discovery"
	service        = discovery + ".registries.service"
)

// The settings of each section.
var (
	kubespanSettings = []setting{
		{"enabled", boolean, kubespan + ".enabled"},
		{"advertiseKubernetesNetworks", boolean, kubespan + ".advertiseKubernetesNetworks"},
		{"allowDownPeerBypass", boolean, kubespan + ".allowDownPeerBypass"},
		{"harvestExtraEndpoints", boolean, kubespan + ".harvestExtraEndpoints"},
		{"mtu", number, kubespan + ".mtu"},
	}
	filterSettings = []setting{
		{"endpoints", words, endpointFilter},
		{"excludeAdvertisedNetworks", words, kubespan + ".filters.excludeAdvertisedNetworks"},
	}
	endpointSettings  = []setting{{"extraAnnouncedEndpoints", words, kubespan + ".extraAnnouncedEndpoints"}}
	discoverySettings = []setting{{"enabled", boolean, discovery + ".enabled"}}
	serviceSettings   = []setting{{"disabled", boolean, service + ".disabled"}, {"endpoint", word, service + ".endpoint"}}
	// kubernetesSettings are judged in complete: Talos has the registry on by default.
	kubernetesSettings = []setting{{"disabled", boolean, ""}}
	clusterIdentity    = []setting{{"id", word, "cluster.id"}, {"secret", word, "cluster.secret"}}
	documentIdentity   = []setting{{"clusterID", word, "cluster.id"}, {"clusterSecret", word, "cluster.secret"}}
)

// isTalos reports whether Talos has a setting with that name.
func isTalos(name string) bool {
	for _, list := range [][]setting{kubespanSettings, filterSettings, endpointSettings, discoverySettings, serviceSettings, documentIdentity} {
		if slices.ContainsFunc(list, func(s setting) bool { return s.name == name }) {
			return true
		}
	}
	return slices.Contains([]string{"kubespan", "filters", "registries", "service", "kubernetes", "apiVersion", "kind", "name"}, name)
}

// take copies the settings of a section. Other fields are faults, but for those that the caller
// knows. From is the section's name.
func (r *result) take(from string, section []entry, settings []setting, known ...string) {
	for _, e := range section {
		i := slices.IndexFunc(settings, func(s setting) bool { return s.name == e.name })
		switch {
		case i >= 0:
			r.copy(join(from, e.name), settings[i], e)
		case slices.Contains(known, e.name):
		default:
			r.unknown(from, e, settings, known)
		}
	}
}

// copy copies a setting. A null is what Talos takes for a setting that is not there.
func (r *result) copy(from string, s setting, e entry) {
	if isNull(e.value) {
		return
	}
	value, at, fits := decode(s.kind, e.value)
	switch {
	case !fits && isTagged(at):
		r.problem(at, from, files.TagReason, files.TagWant)
		return
	case !fits:
		r.problem(at, from, "is "+article(at)+", which does not fit", wants[s.kind])
		return
	}
	if s.to != "" && value != "" {
		r.set(s.to, value, origin{from, e.value})
	}
}

// decode decodes a value. For one that does not fit, at is the node with the fault.
func decode(k kind, n *yaml.Node) (value any, at *yaml.Node, fits bool) {
	if isTagged(n) {
		return nil, n, false
	}
	var err error
	switch k {
	case boolean:
		var b bool
		err = n.Decode(&b)
		value = b
	case number:
		var u uint32
		var exact float64 // the library cuts 1400.5
		if err = n.Decode(&u); err == nil && (n.Decode(&exact) != nil || exact != float64(u)) {
			return nil, n, false
		}
		value = u
	case word:
		var s string
		err = n.Decode(&s)
		value = s
	case words:
		if n.Kind != yaml.SequenceNode {
			return nil, n, false
		}
		list := make([]any, len(n.Content))
		for i, element := range n.Content {
			element = resolve(element)
			var s string
			if err := element.Decode(&s); err != nil || isNull(element) || isTagged(element) {
				return nil, element, false
			}
			list[i] = s
		}
		value = list
	}
	return value, n, err == nil
}

// unknown records a field that Talos does not have in a section. Talos refuses it too.
func (r *result) unknown(from string, e entry, settings []setting, known []string) {
	if e.name == patchKey {
		r.patch(e.key)
		return
	}
	names := slices.Clone(known)
	for _, s := range settings {
		names = append(names, s.name)
	}
	names = slices.DeleteFunc(names, func(name string) bool { return name == "apiVersion" || name == "kind" })
	slices.Sort(names)
	want := "one of " + field.QuoteAll(names)
	if near := field.Nearest(e.name, names); near != "" {
		want = fmt.Sprintf("%q", near)
	}
	r.problem(e.key, join(from, e.name), "is not a setting that Talos has here, as far as is known", want)
}

// set sets a setting of the new config.
func (r *result) set(to string, value any, from origin) {
	path := strings.Split(to, ".")
	at := r.settings
	for _, name := range path[:len(path)-1] {
		inner, ok := at[name].(map[string]any)
		if !ok {
			inner = map[string]any{}
			at[name] = inner
		}
		at = inner
	}
	at[path[len(path)-1]] = value
	if from.node == nil {
		return
	}
	r.origins[to] = from
	if from.node.Kind == yaml.SequenceNode {
		for i, element := range from.node.Content {
			index := "[" + itoa(i) + "]"
			r.origins[to+index] = origin{from.name + index, element}
		}
	}
}

// get returns a setting of the new config, or nil.
func (r *result) get(path string) any {
	var at any = r.settings
	for name := range strings.SplitSeq(path, ".") {
		inner, _ := at.(map[string]any)
		at = inner[name]
	}
	return at
}

// serviceURL returns the URL of a service as Talos uses it, without all but scheme, host and port.
// A text that is no URL stays as it is.
func serviceURL(text string) (short string, changed bool) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User == nil && strings.Trim(u.Path, "/") == "" && u.RawQuery == "" && u.Fragment == "" {
		return text, false
	}
	return u.Scheme + "://" + u.Host + "/", true
}

func join(from, name string) string { return strings.TrimPrefix(from+"."+name, ".") }

// ordered is a struct of the new config, whose fields come in the order of the schema: machine is
// before cluster, so that a file that is cut has the mesh's settings.
type ordered struct {
	path   string
	fields map[string]any
}

// MarshalJSON implements json.Marshaler.
func (o ordered) MarshalJSON() ([]byte, error) {
	out := []byte{'{'}
	for _, name := range field.All()[o.path].Children {
		value, set := o.fields[name]
		if !set {
			continue
		}
		if inner, ok := value.(map[string]any); ok {
			value = ordered{join(o.path, name), inner}
		}
		text, err := json.Marshal(value)
		if err != nil {
			return nil, err
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(fmt.Appendf(out, "%q:", name), text...)
	}
	return append(out, '}'), nil
}
