package load

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/cuecontext"

	"github.com/spanmesh/span/schema"
	"github.com/spanmesh/span/schema/internal/field"
)

// others has a default of its own for each field that has one in the schema, and a list.
var others = map[string]string{
	"machine.network.kubespan.enabled":                           "bool | *true",
	"machine.network.kubespan.advertiseKubernetesNetworks":       "bool | *true",
	"machine.metrics.listen":                                     `string | *"mesh:9851"`,
	"machine.api.listen":                                         `string | *"[::1]:9852"`,
	"machine.api.tokenFile":                                      `string | *"/etc/spanctl/api-token"`,
	"machine.metrics.perPeer":                                    "bool | *true",
	"machine.network.kubespan.allowDownPeerBypass":               "bool | *true",
	"machine.network.kubespan.harvestExtraEndpoints":             "bool | *true",
	"machine.network.kubespan.mtu":                               "int | *1400",
	"machine.network.kubespan.relay.offer":                       "bool | *true",
	"machine.network.kubespan.relay.port":                        "int | *51830",
	"machine.network.kubespan.relay.use":                         "*true | false",
	"machine.network.kubespan.names.enabled":                     "bool | *true",
	"machine.network.kubespan.names.domain":                      `string | *"mesh.example.com"`,
	"machine.network.kubespan.nat.stun":                          "bool | *false",
	"machine.network.kubespan.nat.punch":                         "bool | *false",
	"machine.network.kubespan.relay.forwarding.offer":            "bool | *true",
	"machine.network.kubespan.relay.forwarding.use":              "bool | *true",
	"machine.network.kubespan.nat.portMapping":                   "bool | *false",
	"machine.network.kubespan.nat.upnp":                          "bool | *true",
	"machine.network.kubespan.listenPort":                        "*51821 | int",
	"machine.network.kubespan.interfaceName":                     `string | *"mesh0"`,
	"machine.network.kubespan.routingTable":                      "int | *300",
	"machine.network.kubespan.rulePriority":                      "int | *1000",
	"machine.network.kubespan.fwmark":                            "int | *64",
	"machine.network.kubespan.persistentKeepalive":               "int | *0",
	"machine.network.kubespan.bypass":                            `[...string] | *["10.0.0.0/8"]`,
	"cluster.discovery.registries.kubernetes.disabled":           "bool | *false",
	"cluster.discovery.registries.kubernetes.kubeconfig":         `string | *"/kubeconfig"`,
	"cluster.discovery.registries.kubernetes.nodeName":           `string | *"node"`,
	"cluster.discovery.registries.service.disabled":              "bool | *true",
	"cluster.discovery.registries.service.endpoint":              `string | *"https://discovery.example.com/"`,
	"cluster.discovery.registries.service.protocol":              `"connect" | *"grpc"`,
	"cluster.discovery.enabled":                                  "bool | *true",
	"cluster.discovery.registries.static.peers":                  `[...] | *[{name: "phone", publicKey: "dAmFcyNmDXusqnTSkPJrsgLJ38W8oEEXGZKM0x6Orpc="}]`,
	"machine.network.kubespan.filters.interfaces":                `[...string] | *["eth0"]`,
	"machine.network.kubespan.filters.excludeAdvertisedNetworks": `*["10.9.0.0/16"] | [...string]`,
}

// TestOwnDefaults gives each field that has a default in the schema another one: in a file, in one
// that imports the schema, and in a package of many machines, of which one has a value.
func TestOwnDefaults(t *testing.T) {
	for _, path := range field.Defaults() {
		if others[path] == "" {
			t.Errorf("there is no test of %s", path)
		}
	}
	const complete = "machine: network: kubespan: enabled: bool | *true\ncluster: discovery: enabled: bool | *true\n" +
		"cluster: registries: _\ncluster: {id: \"" + testID + "\", secret: \"" + testSecret + "\"}\n"
	for path, value := range others {
		t.Run(path, func(t *testing.T) {
			own := strings.ReplaceAll(path, ".", ": ") + ": " + value + "\n"
			text := strings.Replace(complete, "cluster: registries: _\n", own, 1)
			if path == "cluster.discovery.registries.service.disabled" {
				text += "cluster: discovery: registries: kubernetes: disabled: bool | *false\n"
			}
			ctx := cuecontext.New()
			want := ctx.CompileString(own).LookupPath(cue.ParsePath(path))
			want, _ = want.Default()
			// Another field of the schema may be read, and its default holds.
			const imported = "import \"github.com/spanmesh/span/machine\"\n\n"
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "fleet.cue"), []byte("package fleet\n"+imported+
				"machines: [string]: machine.#Machine & {\n"+text+"}\nmachines: web1: _\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			for name, in := range map[string]Input{
				"alone":    {Sources: []schema.Source{{Name: "a.cue", Data: []byte(text)}}},
				"imported": {Sources: []schema.Source{{Name: filepath.Join(dir, "a.cue"), Data: []byte(imported + "machine.#Machine & {\n" + text + "}\n")}}},
				"fleet":    {Sources: []schema.Source{{Name: dir}}, Expression: "machines.web1"},
			} {
				loaded, err := in.Evaluate()
				if err != nil {
					t.Errorf("%s: %v", name, err)
					continue
				}
				// The stored file has it too.
				again, err := Config(loaded.Source.Name, loaded.Source.Data)
				if err != nil {
					t.Errorf("%s, stored: %v\n%s", name, err, loaded.Source.Data)
					continue
				}
				for _, config := range []*schema.Config{loaded.Config, again} {
					got := ctx.Encode(config).LookupPath(cue.ParsePath(path))
					// Of a peer, only some fields are given.
					if err := got.Unify(want).Validate(cue.Concrete(true)); err != nil || !got.Exists() {
						t.Errorf("%s: %s is %v, want %v", name, path, got, want)
					}
				}
			}
		})
	}
}

// TestSchemaDefaultsAreRead reads a default of the schema in an expression, beside another default.
func TestSchemaDefaultsAreRead(t *testing.T) {
	config, err := Config(filepath.Join(t.TempDir(), "a.cue"), []byte(`
import "github.com/spanmesh/span/machine"

machine.#Machine & {machine: network: kubespan: {
	enabled:    false
	mtu:        int | *1400
	listenPort: _
	extraAnnouncedEndpoints: ["192.0.2.1:\(listenPort)"]
}}
`))
	if err != nil {
		t.Fatal(err)
	}
	if k := config.KubeSpan(); k.MTU != 1400 || k.ExtraAnnouncedEndpoints[0].Port() != 51820 {
		t.Errorf("got %+v", k)
	}
}

// TestOpenValues has values that no default can complete.
func TestOpenValues(t *testing.T) {
	for text, want := range map[string]string{
		"machine: network: kubespan: {enabled: false, mtu: 1400 | 1500}":                "a.cue:1:46: machine.network.kubespan.mtu: ",
		"machine: network: kubespan: {enabled: false, listenPort: *1 | *2}":             "a.cue:1:46: machine.network.kubespan.listenPort: ",
		"machine: network: kubespan: {enabled: false, mtu: int | *1400, listenPort: 0}": "a.cue:1:64: machine.network.kubespan.listenPort: 0: is out of range",
	} {
		_, err := Config("a.cue", []byte(text))
		if err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
}
