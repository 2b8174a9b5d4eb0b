package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// The values of -o of commands that print resources.
const (
	outputWide     = "wide"
	outputName     = "name"
	outputWG       = "wg"
	outputJSONPath = "jsonpath"
)

// resourceOutputs are those that all of these commands take.
var resourceOutputs = []string{outputTable, outputWide, outputYAML, outputJSON, outputName, outputJSONPath}

// outputHelp explains them.
const outputHelp = `  -o table, wide     rows for people, with ages and sizes; wide has more columns
  -o yaml            the whole of each, a document each
  -o json            the whole of all in one list; of one, where it was named, that alone;
                     with -w a line for each change
  -o name            the name of each by which get finds it, or its ID
  -o jsonpath=PATH   parts of the JSON: RFC 9535, such as '$.items[*].spec.label', a line
                     for each value; or kubectl's '{.items[*].spec.label}' with text
                     around, without range and end`

// format is how resources are printed.
type format struct {
	// name is one of the values of -o.
	name string
	// template is set for outputJSONPath.
	template *template
}

// outputFlag adds the flag that picks the format of resources. Own are formats that only this
// command has.
func outputFlag(cmd *cobra.Command, p *string, own ...string) {
	all := slices.Concat(resourceOutputs, own)
	cmd.Flags().StringVarP(p, "output", "o", outputTable, "output format: "+formats(all))
	var words []cobra.Completion
	for _, name := range all {
		if name == outputJSONPath {
			name += "="
		}
		words = append(words, name)
	}
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)) // the flag is there
}

// formats lists formats for people.
func formats(names []string) string {
	return strings.Replace(strings.Join(names, ", "), outputJSONPath, outputJSONPath+"=PATH", 1)
}

// parseFormat reads the value of -o.
func parseFormat(value string, own ...string) (format, error) {
	all := slices.Concat(resourceOutputs, own)
	name, path, has := strings.Cut(value, "=")
	switch {
	case name == outputJSONPath && path == "":
		return format{}, fmt.Errorf("--output is %q: want a path, such as jsonpath='$.items[*].spec'", value)
	case name == outputJSONPath:
		t, err := parseTemplate(path)
		return format{name: name, template: t}, err
	case has || !slices.Contains(all, name):
		return format{}, fmt.Errorf("--output is %q: want %s", value, formats(all))
	default:
		return format{name: name}, nil
	}
}

// isTable reports whether rows are printed.
func (f format) isTable() bool { return f.name == outputTable || f.name == outputWide }
