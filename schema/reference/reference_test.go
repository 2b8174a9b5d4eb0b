package reference

import (
	"os"
	"strings"
	"testing"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/cuecontext"
	cuejson "cuelang.org/go/encoding/json"
	"cuelang.org/go/encoding/jsonschema"
	"cuelang.org/go/encoding/yaml"

	"github.com/spanmesh/span/schema/internal/field"
)

// TestJSONSchemaAcceptsValidConfigs reads the JSON Schema back with CUE's importer.
func TestJSONSchemaAcceptsValidConfigs(t *testing.T) {
	text, err := JSONSchema()
	if err != nil {
		t.Fatal(err)
	}
	ctx := cuecontext.New()
	document, err := cuejson.Extract("schema.json", text)
	if err != nil {
		t.Fatal(err)
	}
	extracted, err := jsonschema.Extract(ctx.BuildExpr(document), &jsonschema.Config{})
	if err != nil {
		t.Fatal(err)
	}
	shape := ctx.BuildFile(extracted)
	check := func(name string, data []byte) error {
		file, err := yaml.Extract(name, data)
		if err != nil {
			t.Fatal(err)
		}
		return shape.Unify(ctx.BuildFile(file)).Validate(cue.Concrete(true))
	}
	for _, name := range []string{"../load/testdata/full.yaml", "../load/testdata/full.json"} {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := check(name, data); err != nil {
			t.Errorf("%s is refused: %v", name, err)
		}
	}
	if err := check("empty", []byte("machine: {network: {kubespan: {enabled: true}}}")); err != nil {
		t.Errorf("what has defaults is required: %v", err)
	}
	for _, bad := range []string{"listenPort: 0", "listenPort: 70000", "listnPort: 1", "enabled: 1", "mtu: 900", "mtu: never", "interfaceName: a b"} {
		if check("bad", []byte("machine: {network: {kubespan: {"+bad+"}}}")) == nil {
			t.Errorf("%s is accepted", bad)
		}
	}
	if !strings.Contains(string(text), `"default": 51820`) {
		t.Error("there are no defaults")
	}
}

// TestEverySettingIsDocumented checks that each setting has a description, its type and @want.
func TestEverySettingIsDocumented(t *testing.T) {
	text, err := Markdown()
	if err != nil {
		t.Fatal(err)
	}
	settings := 0
	for path, f := range field.All() {
		if f.Kind == cue.StructKind || strings.HasSuffix(path, field.Element) {
			continue
		}
		settings++
		shown := strings.ReplaceAll(path, "."+field.Element, field.Element)
		_, rest, found := strings.Cut(string(text), "### `"+shown+"`\n\n")
		if !found || strings.HasPrefix(rest, "\n") || !strings.Contains(rest, "- Type: ") {
			t.Errorf("%s is not explained", path)
		}
		if f.Want == "" {
			t.Errorf("%s has no @want", path)
		}
	}
	if settings < 30 {
		t.Errorf("there are %d settings", settings)
	}
}
