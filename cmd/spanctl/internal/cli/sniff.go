package cli

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"

	"cuelang.org/go/cue/parser"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"github.com/spanmesh/span/schema"
)

// formatFlag is the flag that names the format of a config.
type formatFlag struct{ text string }

func (f *formatFlag) flag(flags *pflag.FlagSet) {
	flags.StringVar(&f.text, "format", "", "format of the config: cue, yaml or json (default: by the file name's ending, or else by the content)")
}

// name returns a name for a text from a file, that has its format: that of the flag, else of the
// file name, else of the text.
func (f formatFlag) name(file string, data []byte) (string, error) {
	if f.text == "" && schema.HasExtension(file) {
		return file, nil
	}
	format := sniff(data)
	if f.text != "" {
		if err := oneOf("format", f.text, "cue", "yaml", "json"); err != nil {
			return "", err
		}
		format = schema.FormatOf("." + f.text)
	}
	if file == standardInput {
		return "stdin" + format.Extension(), nil
	}
	return schema.Named(file, format), nil
}

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
	data = bytes.TrimPrefix(data, []byte(byteOrderMark))
	var document yaml.Node
	_, cueErr := parser.ParseFile("", data)
	switch {
	case json.Valid(data):
		return schema.FormatJSON
	case yaml.Unmarshal(data, &document) == nil && len(document.Content) == 1 && document.Content[0].Kind != yaml.ScalarNode:
		return schema.FormatYAML
	case cueErr == nil:
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

// patchName names a patch that is a text of the command line.
func patchName(text string) string { return "--patch" + sniff([]byte(text)).Extension() }
