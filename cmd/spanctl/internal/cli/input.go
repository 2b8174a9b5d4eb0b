package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/spanmesh/span/cmd/spanctl/internal/agent"
	"github.com/spanmesh/span/cmd/spanctl/internal/configfile"
	"github.com/spanmesh/span/schema"
)

// standardInput is the name that stands for it.
const standardInput = "-"

// pickFlag adds the flag that picks a config out of several.
func (s *settings) pickFlag(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&s.expression, "expression", "e", "", "CUE expression that picks the config out of the files, such as machines.web1")
}

// file is the one file that holds the config, for who reads it again and again.
func (s *settings) file() (string, error) {
	if len(s.configs) != 1 || s.configs[0] == standardInput {
		return "", errors.New("--config must be one file here")
	}
	return s.configs[0], nil
}

// input reads the files that the flags name.
func (s *settings) input(cmd *cobra.Command) (schema.Input, error) {
	in := schema.Input{Expression: s.expression}
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
		return schema.Source{Name: nameFor(data), Data: data}, err
	}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return schema.Source{Name: path}, nil
	}
	data, err := os.ReadFile(path)
	// Not nil, which stands for a directory.
	return schema.Source{Name: path, Data: append([]byte{}, data...)}, err
}

// nameFor names what came over standard input. What reads as a YAML mapping, as
// JSON does too, is YAML: in CUE its lines would nest otherwise.
func nameFor(data []byte) string {
	var document yaml.Node
	if yaml.Unmarshal(data, &document) == nil && len(document.Content) == 1 && document.Content[0].Kind == yaml.MappingNode {
		return "stdin.yaml"
	}
	return "stdin.cue"
}

// load reads and checks the config that the flags name. Source is it as one file.
func (s *settings) load(cmd *cobra.Command) (in schema.Input, source schema.Source, err error) {
	if in, err = s.input(cmd); err != nil {
		return in, source, err
	}
	source, _, err = in.Resolve()
	return in, source, err
}

// alone is the machine and its config with all secrets, for commands that work without
// an agent. They log warnings only, since they print what they do.
func (s *settings) alone(cmd *cobra.Command, in schema.Input) (agent.Once, *schema.Config, error) {
	in.ReadSecret = agent.ReadSecret
	config, err := in.Load()
	if err != nil {
		return agent.Once{}, nil, err
	}
	once, err := s.here(cmd)
	return once, config, err
}

// here is the machine, for commands that work without an agent.
func (s *settings) here(cmd *cobra.Command) (agent.Once, error) {
	quiet := *s
	if !cmd.Flags().Changed("log-level") && os.Getenv("SPANCTL_LOG_LEVEL") == "" {
		quiet.logLevel = "warn"
	}
	machine, err := quiet.machine(cmd.ErrOrStderr())
	return agent.Once{Machine: machine, File: configfile.At(storedConfig())}, err
}

// storedConfig is where a config is stored when there is no agent to say so.
func storedConfig() string { return cmp.Or(os.Getenv("SPANCTL_CONFIG"), defaultConfig) }
