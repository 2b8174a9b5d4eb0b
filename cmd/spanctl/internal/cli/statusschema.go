package cli

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
)

func newSchemaStatus() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Print the JSON Schema of `spanctl status -o json`",
		Long: `Print the JSON Schema of what ` + "`spanctl status -o json`" + ` and -o yaml print. It is made from the
description of the agent's API. Fields are added, and none is removed or renamed.`,
		Example: "  spanctl schema status > status.schema.json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			text, err := statusSchema()
			if err != nil {
				return err
			}
			_, err = io.WriteString(cmd.OutOrStdout(), text)
			return err
		},
	}
}

// jsonSchema is a schema of JSON Schema 2020-12, as far as messages need it.
type jsonSchema struct {
	Schema     string                 `json:"$schema,omitempty"`
	Title      string                 `json:"title,omitempty"`
	Type       string                 `json:"type"`
	Format     string                 `json:"format,omitempty"`
	Minimum    *int                   `json:"minimum,omitempty"`
	Items      *jsonSchema            `json:"items,omitempty"`
	Properties map[string]*jsonSchema `json:"properties,omitempty"`
	Required   []string               `json:"required,omitempty"`
}

// statusSchema returns the schema of a GetHealthResponse that printHealth printed.
func statusSchema() (string, error) {
	root, err := messageSchema((&agentpb.GetHealthResponse{}).ProtoReflect().Descriptor())
	if err != nil {
		return "", err
	}
	root.Schema, root.Title = "https://json-schema.org/draft/2020-12/schema", "spanctl status"
	text, err := json.MarshalIndent(root, "", "  ")
	return string(text) + "\n", err
}

// messageSchema returns the schema of a message. Fields that may be absent are not required: other
// messages, and those that are marked as optional.
func messageSchema(m protoreflect.MessageDescriptor) (*jsonSchema, error) {
	if m.FullName() == "google.protobuf.Timestamp" {
		return &jsonSchema{Type: "string", Format: "date-time"}, nil
	}
	s := &jsonSchema{Type: "object", Properties: map[string]*jsonSchema{}}
	for i := range m.Fields().Len() {
		f := m.Fields().Get(i)
		value, err := fieldSchema(f)
		if err != nil {
			return nil, err
		}
		if f.IsList() {
			value = &jsonSchema{Type: "array", Items: value}
		}
		if !f.HasPresence() {
			s.Required = append(s.Required, f.JSONName())
		}
		s.Properties[f.JSONName()] = value
	}
	return s, nil
}

// fieldSchema returns the schema of a field, or of an item of a list.
func fieldSchema(f protoreflect.FieldDescriptor) (*jsonSchema, error) {
	switch f.Kind() {
	case protoreflect.MessageKind:
		return messageSchema(f.Message())
	case protoreflect.StringKind:
		return &jsonSchema{Type: "string"}, nil
	case protoreflect.BoolKind:
		return &jsonSchema{Type: "boolean"}, nil
	case protoreflect.Uint32Kind:
		return &jsonSchema{Type: "integer", Minimum: new(int)}, nil
	case protoreflect.DoubleKind:
		return &jsonSchema{Type: "number"}, nil
	default:
		return nil, fmt.Errorf("the field %s is of the kind %v, which JSON has in another form", f.FullName(), f.Kind())
	}
}
