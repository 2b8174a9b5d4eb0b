package evaluate

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"

	"cuelang.org/go/cue/parser"
	"go.yaml.in/yaml/v3"

	"github.com/spanmesh/span/schema"
)

// cueClues are lines that only CUE has.
var cueClues = regexp.MustCompile(`(?m)^\s*(package \w+|import [("].*|//.*|#\w+.*|.*[^{]\{|\})\s*$`)

// sniff returns the format of a text:
//   - JSON, if it is valid JSON;
//   - YAML, if it is valid YAML and has a structure: in CUE, its lines would nest otherwise;
//   - CUE, if it is valid CUE.
//
// A text that is none of these has a fault. It is JSON if it begins as an object with a name in
// quotes or as a list, CUE if it has a line that only CUE has, and else YAML.
func sniff(data []byte) schema.Format {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	var document yaml.Node
	switch {
	case json.Valid(data):
		return schema.FormatJSON
	case yaml.Unmarshal(data, &document) == nil && len(document.Content) == 1 && document.Content[0].Kind != yaml.ScalarNode:
		return schema.FormatYAML
	}
	if _, err := parser.ParseFile("", data); err == nil {
		return schema.FormatCUE
	}
	start := strings.Join(strings.Fields(string(data[:min(len(data), 100)])), "")
	switch {
	case strings.HasPrefix(start, `{"`), strings.HasPrefix(start, "["):
		return schema.FormatJSON
	case cueClues.Match(data):
		return schema.FormatCUE
	default:
		return schema.FormatYAML
	}
}
