package cli

import (
	"context"

	"github.com/spf13/pflag"

	"github.com/spanmesh/span/cmd/spanctl/internal/evaluate"
	"github.com/spanmesh/span/schema"
)

// formatFlag is the flag that names the format of a config.
type formatFlag struct{ text string }

func (f *formatFlag) flag(flags *pflag.FlagSet) {
	flags.StringVar(&f.text, "format", "", "format of the config: cue, yaml or json (default: by the file name's ending, or else by the content)")
}

// name returns a name for a text from a file, that has its format: that of the flag, else of the
// file name, else of the text.
func (f formatFlag) name(ctx context.Context, file string, data []byte) (string, error) {
	if f.text == "" && schema.HasExtension(file) {
		return file, nil
	}
	format, err := f.format(ctx, file, data)
	if err != nil {
		return "", err
	}
	if file == standardInput {
		return "stdin" + format.Extension(), nil
	}
	return schema.Named(file, format), nil
}

// format returns the format of the flag, else of the text.
func (f formatFlag) format(ctx context.Context, file string, data []byte) (schema.Format, error) {
	if f.text == "" {
		return (&evaluate.Evaluator{}).Format(ctx, schema.Source{Name: file, Data: data})
	}
	if err := oneOf("format", f.text, "cue", "yaml", "json"); err != nil {
		return 0, err
	}
	return schema.FormatOf("." + f.text), nil
}
