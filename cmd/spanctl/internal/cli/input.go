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

// standardInput is the name that stands for it.
const standardInput = "-"

// pickFlag adds the flag that picks a config out of several.
func (s *settings) pickFlag(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&s.expression, "expression", "e", "", "CUE expression that picks the config out of the files, such as machines.web1")
}

// patchFlag adds the flag for patches of the config.
func (s *settings) patchFlag(cmd *cobra.Command) {
	cmd.Flags().StringArrayVarP(&s.patches, "patch", "p", nil,
		"patch of the config, as text or @FILE: a part of a config to merge, or a JSON patch; may be given several times")
}

// readPatches reads what the patch flags say.
func (s *settings) readPatches() ([]schema.Source, error) {
	patches := make([]schema.Source, len(s.patches))
	for i, text := range s.patches {
		if path, isFile := strings.CutPrefix(text, "@"); isFile {
			data, err := os.ReadFile(path)
			if err != nil {
				return nil, fmt.Errorf("read a patch: %w", err)
			}
			patches[i] = schema.Source{Name: path, Data: data}
			continue
		}
		patches[i] = schema.Source{Name: nameFor("--patch", []byte(text)), Data: []byte(text)}
	}
	return patches, nil
}

// patched is a config with the patches of the flags.
func (s *settings) patched(cmd *cobra.Command, base schema.Source) (schema.Source, error) {
	patches, err := s.readPatches()
	if err != nil {
		return base, err
	}
	p, err := patch.Apply(base, patches...)
	if p.Rewritten {
		cmd.PrintErrf("the text of %s is made anew, without its comments: what is patched is computed in it\n", base.Name)
	}
	return p.Source, err
}

// file is the one file that holds the config, for who reads it again and again.
func (s *settings) file() (string, error) {
	if len(s.configs) != 1 || s.configs[0] == standardInput {
		return "", errors.New("--config must be one file here")
	}
	return s.configs[0], nil
}

// input reads the files that the flags name.
func (s *settings) input(cmd *cobra.Command) (load.Input, error) {
	in := load.Input{Expression: s.expression}
	for _, path := range s.configs {
		one, err := sourceAt(cmd, path)
		if err != nil {
			return in, fmt.Errorf("read the machine config: %w", err)
		}
		in.Sources = append(in.Sources, one)
	}
	return in, nil
}

func sourceAt(cmd *cobra.Command, path string) (schema.Source, error) {
	if path == standardInput {
		data, err := io.ReadAll(cmd.InOrStdin())
		return schema.Source{Name: nameFor("stdin", data), Data: data}, err
	}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return schema.Source{Name: path}, nil
	}
	data, err := os.ReadFile(path)
	// Not nil, which stands for a directory.
	return schema.Source{Name: path, Data: append([]byte{}, data...)}, err
}

// nameFor names what has no file, by its format. What reads as YAML with a structure,
// as JSON does too, is YAML: in CUE its lines would nest otherwise.
func nameFor(name string, data []byte) string {
	var document yaml.Node
	if yaml.Unmarshal(data, &document) == nil && len(document.Content) == 1 && document.Content[0].Kind != yaml.ScalarNode {
		return name + ".yaml"
	}
	return name + ".cue"
}

// load reads and checks the config that the flags name. Source is it as one file.
func (s *settings) load(cmd *cobra.Command) (source schema.Source, err error) {
	in, err := s.input(cmd)
	if err != nil {
		return source, err
	}
	if len(s.patches) == 0 {
		source, _, err = in.Resolve()
		return source, err
	}
	// A file may be completed by its patches; what is made of several must be sound.
	source = in.Sources[0]
	if len(in.Sources) > 1 || in.Expression != "" || source.Data == nil {
		if source, _, err = in.Resolve(); err != nil {
			return source, err
		}
	}
	if source, err = s.patched(cmd, source); err != nil {
		return source, err
	}
	source, _, err = load.Input{Sources: []schema.Source{source}}.Resolve()
	return source, err
}
