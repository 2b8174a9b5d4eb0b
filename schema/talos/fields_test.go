package talos

import (
	"fmt"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/spanmesh/span/schema"
	"github.com/spanmesh/span/schema/load"
)

// values are valid in the fields of Talos with these names. Others are true.
var values = map[string]any{
	"mtu": 1300, "endpoints": []string{"10.0.0.0/8"}, "peerEndpoints": []string{"10.0.0.0/8"}, "excludeAdvertisedNetworks": []string{"10.0.0.0/8"},
	"extraAnnouncedEndpoints": []string{"192.0.2.1:51820"}, "id": "cluster-1", "clusterID": "cluster-1",
	"disabled":      false,
	"secret":        "NzW8oeIH5rJyY5lefD9WRoHWWRr/Q6DwsDjMX+xKjT4=",
	"clusterSecret": "NzW8oeIH5rJyY5lefD9WRoHWWRr/Q6DwsDjMX+xKjT4=", "endpoint": "https://d.example.com/",
}

// TestFieldsAreTaken imports each field alone, with what its document needs, and looks for the
// setting that it becomes.
func TestFieldsAreTaken(t *testing.T) {
	for _, f := range Fields() {
		last := f.Name[strings.LastIndex(f.Name, ".")+1:]
		value, known := values[last]
		if !known {
			value = f.Setting != kubespan+".enabled" // KubeSpan needs discovery
		}
		document := map[string]any{"version": "v1alpha1"}
		if f.Document != apiVersion {
			document = map[string]any{"apiVersion": apiVersion, "kind": f.Document}
		}
		switch f.Document {
		case "DiscoveryServiceConfig":
			document["name"] = "one"
		case "DiscoveryIdentityConfig":
			document["clusterID"], document["clusterSecret"] = values["clusterID"], values["clusterSecret"]
		}
		put(document, f.Name, value)
		text, err := yaml.Marshal(document)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Import(schema.Source{Name: "talos.yaml", Data: text}, Options{Name: "new.cue", NewSecrets: strings.NewReader(strings.Repeat("x", 64))})
		if err != nil {
			t.Errorf("%s.%s: %v", f.Document, f.Name, err)
			continue
		}
		if left := strings.Join(got.Left, "\n"); strings.Contains(left, last) {
			t.Errorf("%s.%s is left out: %s", f.Document, f.Name, left)
		}
		if _, err := load.Config("new.cue", got.Data); err != nil {
			t.Errorf("%s.%s: %v", f.Document, f.Name, err)
		}
		name := f.Setting[strings.LastIndex(f.Setting, ".")+1:]
		shown := fmt.Sprint(value)
		if list, ok := value.([]string); ok {
			shown = list[0]
		}
		if !strings.Contains(string(got.Data), name+":") || !strings.Contains(string(got.Data), shown) {
			t.Errorf("%s.%s is not the %s of\n%s", f.Document, f.Name, f.Setting, got.Data)
		}
	}
}

// put sets a field at a path.
func put(d map[string]any, path string, value any) {
	name, below, inside := strings.Cut(path, ".")
	if !inside {
		d[name] = value
		return
	}
	inner, _ := d[name].(map[string]any)
	if inner == nil {
		inner = map[string]any{}
		d[name] = inner
	}
	put(inner, below, value)
}
