package ui

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"connectrpc.com/connect"
	"go.yaml.in/yaml/v3"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/reconciler/resource"
	"github.com/spanmesh/span/schema"
)

// withSecrets returns the text of a config that the page shows, and somebody edited, with the secrets
// in force where it has them hidden. Only root is given them by the agent.
func (s *Server) withSecrets(ctx context.Context, m *reader, text string) ([]byte, error) {
	if !strings.Contains(text, schema.Hidden) {
		return []byte(text), nil
	}
	list, err := m.List(ctx, connect.NewRequest(&agentpb.ListRequest{Type: resource.MachineConfigs.Aliases[0], Reveal: true}))
	if err != nil {
		return nil, err
	}
	var inForce any
	for _, r := range list.Msg.GetResources() {
		inForce = r.GetSpec().AsMap()
	}
	filled, err := fill(text, inForce)
	if err != nil {
		return nil, &httpError{http.StatusBadRequest, err.Error()}
	}
	return filled, nil
}

// errHidden is the error of a text with a hidden secret that is not known.
var errHidden = errors.New("the text has " + schema.Hidden + " where the config in force has no secret: write the secret there")

// fill returns YAML with the texts that a value has at the places where the YAML has schema.Hidden.
func fill(text string, value any) ([]byte, error) {
	var document yaml.Node
	if err := yaml.Unmarshal([]byte(text), &document); err != nil || len(document.Content) != 1 {
		return nil, errors.New("a text with " + schema.Hidden + " in place of a secret must be YAML, as it is shown")
	}
	if err := fillNode(document.Content[0], value); err != nil {
		return nil, err
	}
	return yaml.Marshal(&document)
}

func fillNode(node *yaml.Node, value any) error {
	switch node.Kind {
	case yaml.MappingNode:
		fields, _ := value.(map[string]any)
		for i := 0; i+1 < len(node.Content); i += 2 {
			if err := fillNode(node.Content[i+1], fields[node.Content[i].Value]); err != nil {
				return err
			}
		}
	case yaml.SequenceNode:
		items, _ := value.([]any)
		for i, item := range node.Content {
			var there any
			if len(items) == len(node.Content) { // else nobody knows which is which
				there = items[i]
			}
			if err := fillNode(item, there); err != nil {
				return err
			}
		}
	case yaml.ScalarNode:
		if node.Value != schema.Hidden {
			return nil
		}
		secret, is := value.(string)
		if !is || secret == "" || secret == schema.Hidden {
			return errHidden
		}
		node.SetString(secret)
	}
	return nil
}
