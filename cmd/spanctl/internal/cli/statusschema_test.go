package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/cmd/spanctl/internal/healthtext/healthtest"
)

// conforms returns how a value differs from a schema.
func conforms(s *jsonSchema, path string, value any) (faults []string) {
	is := "null"
	switch v := value.(type) {
	case map[string]any:
		is = "object"
		for _, name := range s.Required {
			if _, has := v[name]; !has {
				faults = append(faults, path+"."+name+" is missing")
			}
		}
		for name, inner := range v {
			if s.Properties[name] == nil {
				faults = append(faults, path+"."+name+" is not in the schema")
				continue
			}
			faults = append(faults, conforms(s.Properties[name], path+"."+name, inner)...)
		}
	case []any:
		is = "array"
		for i, inner := range v {
			faults = append(faults, conforms(s.Items, fmt.Sprintf("%s[%d]", path, i), inner)...)
		}
	case string:
		is = "string"
		if _, err := time.Parse(time.RFC3339, v); s.Format == "date-time" && err != nil {
			faults = append(faults, path+" is no time: "+v)
		}
	case bool:
		is = "boolean"
	case float64:
		is = s.Type
		if s.Type != "number" && s.Type != "integer" {
			is = "number"
		}
	}
	if is != s.Type {
		faults = append(faults, fmt.Sprintf("%s is of type %q, want %q", path, is, s.Type))
	}
	return faults
}

// TestStatusConformsToItsSchema has what `spanctl status -o json` prints of a full and of an empty
// health.
func TestStatusConformsToItsSchema(t *testing.T) {
	text, err := statusSchema()
	if err != nil {
		t.Fatal(err)
	}
	var schema jsonSchema
	if err := json.Unmarshal([]byte(text), &schema); err != nil {
		t.Fatal(err)
	}
	full := healthtest.Sample()
	full.Conditions = []*agentpb.Condition{healthtest.Unreachable, healthtest.Blocked}
	for name, h := range map[string]*agentpb.GetHealthResponse{"a full one": full, "an empty one": {}} {
		var out bytes.Buffer
		if err := (&agentSession{streams: streams{out: &out}}).printHealth(outputJSON, h); err != nil {
			t.Fatal(err)
		}
		var document any
		if err := json.Unmarshal(out.Bytes(), &document); err != nil {
			t.Fatal(err)
		}
		for _, fault := range conforms(&schema, name, document) {
			t.Error(fault)
		}
	}
	if faults := conforms(&schema, "", map[string]any{"state": 1.0, "peers": "x", "other": true}); len(faults) < 3 {
		t.Errorf("only these faults were found: %q", faults)
	}
}
