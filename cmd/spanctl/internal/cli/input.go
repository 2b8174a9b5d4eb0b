package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/spanmesh/span/schema"
	"github.com/spanmesh/span/schema/load"
	"github.com/spanmesh/span/schema/patch"
)

// standardInput is the file name that stands for standard input.
const standardInput = "-"

// configInput is a config that flags name, pick and patch.
type configInput struct {
	// files are the files and directories that make up the config.
	files []string
	// expression picks the config out of them.
	expression string
	// tags are given to the CUE files.
	tags    []string
	patches patches
}

// flags adds all flags of the input.
func (c *configInput) flags(cmd *cobra.Command, fallback ...string) {
	c.fileFlag(cmd, fallback...)
	cmd.Flags().StringVarP(&c.expression, "expression", "e", "", "CUE expression that picks the config out of the files, such as machines.web1")
	cmd.Flags().StringArrayVarP(&c.tags, "inject", "t", nil, "value for the fields with @tag in CUE files, as name=value, or the name of a tag for @if; may be given several times")
	c.patches.flag(cmd)
}

// fileFlag adds the flag that names the files.
func (c *configInput) fileFlag(cmd *cobra.Command, fallback ...string) {
	cmd.Flags().StringArrayVarP(&c.files, "config", "f", fallback,
		"machine config: a .cue, .yaml or .json file, a directory with a CUE package, or - for standard input; several are unified [$SPANCTL_CONFIG]")
}

// names returns the files as the user named them.
func (c *configInput) names() string { return strings.Join(c.files, ", ") }

// read reads the files.
func (c *configInput) read(s streams) (load.Input, error) {
	in := load.Input{Expression: c.expression, Tags: c.tags}
	for _, path := range c.files {
		one, err := sourceAt(s, path)
		if err != nil {
			return in, fmt.Errorf("read the machine config: %w", err)
		}
		in.Sources = append(in.Sources, one)
	}
	return in, nil
}

// load reads, patches and checks the config. Source is it as one file.
func (c *configInput) load(s streams) (source schema.Source, err error) {
	in, err := c.read(s)
	if err != nil {
		return source, err
	}
	if len(c.patches.texts) == 0 {
		return resolved(s, in)
	}
	// One file may be valid only with its patches. Several must be valid without.
	source = in.Sources[0]
	if in.IsComputed() {
		if source, _, err = in.Resolve(); err != nil {
			return source, err
		}
	}
	if source, err = c.patches.apply(s, source); err != nil {
		return source, err
	}
	return resolved(s, load.Input{Sources: []schema.Source{source}})
}

// resolved returns a config as one file, and prints what it probably does not mean.
func resolved(s streams, in load.Input) (schema.Source, error) {
	source, config, err := in.Resolve()
	if err != nil {
		return source, err
	}
	for _, warning := range config.Warnings() {
		s.note("warning:", warning)
	}
	return source, nil
}

// sourceAt reads one file, or standard input.
func sourceAt(s streams, path string) (schema.Source, error) {
	if path == standardInput {
		data, err := io.ReadAll(s.in)
		return schema.Source{Name: nameFor("stdin", data), Data: data}, err
	}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return schema.Source{Name: path}, nil
	}
	data, err := os.ReadFile(path)
	// Not nil, which stands for a directory.
	return schema.Source{Name: path, Data: append([]byte{}, data...)}, err
}

// nameFor names a text without a file by its format. What reads as YAML with a structure,
// as JSON does too, is YAML: in CUE its lines would nest otherwise.
func nameFor(name string, data []byte) string {
	var document yaml.Node
	if yaml.Unmarshal(data, &document) == nil && len(document.Content) == 1 && document.Content[0].Kind != yaml.ScalarNode {
		return name + ".yaml"
	}
	return name + ".cue"
}

// patches are the patches that flags give.
type patches struct {
	// texts are patches, or the names of their files after @.
	texts []string
	// sources are what read has read.
	sources []schema.Source
}

func (p *patches) flag(cmd *cobra.Command) {
	cmd.Flags().StringArrayVarP(&p.texts, "patch", "p", nil,
		"patch of the config, as text or @FILE: a part of a config to merge, or a JSON patch; may be given several times")
}

// read reads the patches, once: a file may be a pipe.
func (p *patches) read() ([]schema.Source, error) {
	if p.sources != nil {
		return p.sources, nil
	}
	sources := make([]schema.Source, len(p.texts))
	for i, text := range p.texts {
		if path, isFile := strings.CutPrefix(text, "@"); isFile {
			data, err := os.ReadFile(path)
			if err != nil {
				return nil, fmt.Errorf("read a patch: %w", err)
			}
			sources[i] = schema.Source{Name: path, Data: data}
			continue
		}
		sources[i] = schema.Source{Name: nameFor("--patch", []byte(text)), Data: []byte(text)}
	}
	p.sources = sources
	return sources, nil
}

// apply returns a config with the patches.
func (p *patches) apply(s streams, base schema.Source) (schema.Source, error) {
	sources, err := p.read()
	if err != nil {
		return base, err
	}
	patched, err := patch.Apply(base, sources...)
	if patched.Rewritten {
		s.note("the text of", base.Name, "is generated again, without its comments: the patched field is computed in it, or shared with others")
	}
	return patched.Source, err
}

// singleFile returns the one file that holds the config.
func (c *configInput) singleFile() (string, error) {
	if len(c.files) != 1 || c.files[0] == standardInput {
		return "", errors.New("--config must be one file here")
	}
	return c.files[0], nil
}
