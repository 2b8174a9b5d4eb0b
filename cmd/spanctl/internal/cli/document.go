package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
)

// apiVersion is the version of the documents that commands print.
const apiVersion = "spanctl/v1"

// document is a resource as JSON and YAML have it.
type document struct {
	APIVersion string         `json:"apiVersion"`
	Kind       string         `json:"kind"`
	Metadata   map[string]any `json:"metadata"`
	Spec       map[string]any `json:"spec"`
	// name is that of a resource, or its ID.
	name string
}

// listDocument is a list of resources.
type listDocument struct {
	APIVersion string     `json:"apiVersion"`
	Kind       string     `json:"kind"`
	Items      []document `json:"items"`
}

// changeDocument is a change of a resource.
type changeDocument struct {
	Resource document `json:"resource"`
	Deleted  bool     `json:"deleted"`
}

// documentOf returns the document of a resource of a node, which is "" where one machine is asked.
func documentOf(r *agentpb.Resource, node string) (document, error) {
	m := r.GetMetadata()
	d := document{APIVersion: apiVersion, Kind: m.GetType(), Spec: r.GetSpec().AsMap(), name: m.GetId()}
	if r.GetName() != "" {
		d.name = r.GetName()
	}
	text, err := protojson.Marshal(m)
	if err == nil {
		err = json.Unmarshal(text, &d.Metadata)
	}
	if node != "" {
		d.Metadata["node"] = node
	}
	return d, err
}

// print prints documents. One is set for a single one that the user named.
func (f format) print(out io.Writer, documents []document, one bool) error {
	var whole any = listDocument{APIVersion: apiVersion, Kind: "List", Items: documents}
	if one && len(documents) == 1 {
		whole = documents[0]
	}
	switch f.name {
	case outputName:
		for _, d := range documents {
			if _, err := fmt.Fprintln(out, plain(d.name)); err != nil {
				return err
			}
		}
		return nil
	case outputJSONPath:
		return f.template.print(out, whole)
	case outputYAML:
		return writeYAML(out, documents)
	default:
		return writeJSON(out, whole, "  ")
	}
}

// writeYAML prints values as the documents of one stream of YAML.
func writeYAML[T any](out io.Writer, values []T) error {
	for i := range values {
		text, err := yamlOfJSON(values[i])
		if err != nil {
			return err
		}
		if i > 0 {
			text = append([]byte("---\n"), text...)
		}
		if _, err := out.Write(text); err != nil {
			return err
		}
	}
	return nil
}

// writeJSON prints a value as JSON, indented unless indent is empty.
func writeJSON(out io.Writer, value any, indent string) error {
	text, err := jsonText(value, indent)
	if err != nil {
		return err
	}
	_, err = io.WriteString(out, plainJSON(text)+"\n")
	return err
}

// jsonText returns a value as JSON in which text is as it is, also "<".
func jsonText(value any, indent string) (string, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", indent)
	err := encoder.Encode(value)
	return string(bytes.TrimSuffix(text.Bytes(), []byte("\n"))), err
}

// printJSON prints a message as indented JSON, always the same for the same message.
func printJSON(out io.Writer, m proto.Message) error {
	raw, err := protojson.Marshal(m)
	if err != nil {
		return err
	}
	// protojson varies the white space from build to build; the indent replaces it.
	return writeJSON(out, json.RawMessage(raw), "  ")
}

// yamlOfJSON returns a YAML document of what a value is in JSON.
func yamlOfJSON(value any) ([]byte, error) {
	raw, err := jsonText(value, "")
	if err != nil {
		return nil, err
	}
	// JSON is YAML: read as such, numbers stay as they are written. YAML has no raw control
	// characters, which JSON may have.
	var document yaml.Node
	if err := yaml.Unmarshal([]byte(plainJSON(raw)), &document); err != nil {
		return nil, err
	}
	unfold(&document)
	text, err := yaml.Marshal(&document)
	return []byte(plainJSON(string(text))), err
}
