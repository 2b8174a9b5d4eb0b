package cli

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/schema"
	"github.com/spanmesh/span/schema/load"
)

func newPatch(s *settings) *cobra.Command {
	var how application
	cmd := &cobra.Command{
		Use:   "patch -p PATCH",
		Short: "Change the machine's config by patches",
		Long: `Change the config where the agent reads it, by one patch or more, and keep its format
and its comments. A patch is text or, after @, the name of a file; in CUE, YAML or JSON.

A list is a JSON patch (RFC 6902). Anything else is merged: structs field by field;
null or "$patch: delete" remove, "$patch: replace" puts the struct in place of the old
one; a list gets what it does not have yet, static peers are merged by their names.

What happens then is the mode:
` + modeHelp,
		Example: `  spanctl patch -p 'machine: network: kubespan: mtu: 1380'
  spanctl patch -p @site.yaml --mode try
  spanctl patch -p '[{"op": "remove", "path": "/machine/network/kubespan/mtu"}]' --dry-run`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			base, err := s.current(cmd)
			if err != nil {
				return err
			}
			source, err := s.patched(cmd, base)
			if err != nil {
				return err
			}
			if _, err := load.Config(source.Name, source.Data); err != nil {
				return err
			}
			return s.apply(cmd, source, &how)
		},
	}
	s.patchFlag(cmd)
	how.flags(cmd, modeAuto)
	if err := cmd.MarkFlagRequired("patch"); err != nil {
		panic(err) // the flag is not there: no user can cause it
	}
	return about(cmd)
}

// current is the machine's config, as it is stored.
func (s *settings) current(cmd *cobra.Command) (schema.Source, error) {
	client, err := s.agent(cmd.Context(), cmd)
	if err != nil {
		return schema.Source{}, err
	}
	response, err := call(cmd.Context(), client.GetConfig, &agentpb.GetConfigRequest{})
	if err != nil {
		return schema.Source{}, err
	}
	return schema.Source{Name: response.GetFilename(), Data: append([]byte{}, response.GetConfig()...)}, nil
}

func newEdit(s *settings) *cobra.Command {
	var how application
	cmd := &cobra.Command{
		Use:   "edit",
		Short: "Edit the machine's config in your editor",
		Long: `Open the config where the agent reads it in $VISUAL or $EDITOR, or vi. Once the editor
ends, the config is checked; if something is wrong, the editor opens again with the
faults as comments. A config that was not changed is left alone.

What happens then is the mode:
` + modeHelp,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			base, err := s.current(cmd)
			if errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("%w; `spanctl gen config` writes one", err)
			}
			if err != nil {
				return err
			}
			return s.edit(cmd, base, &how)
		},
	}
	how.flags(cmd, modeAuto)
	cmd.Annotations = map[string]string{remote: single}
	return cmd
}

// edit has the user edit a config until it is valid, and applies it. What was edited
// is kept if it does not come into force.
func (s *settings) edit(cmd *cobra.Command, base schema.Source, how *application) (err error) {
	dir, err := os.MkdirTemp("", "spanctl-edit-")
	if err != nil {
		return err
	}
	path := filepath.Join(dir, filepath.Base(base.Name))
	edited, err := s.editUntilValid(cmd, path, base)
	if err == nil && edited != nil {
		err = s.applyEdited(cmd, schema.Source{Name: base.Name, Data: edited}, base, how)
	}
	if err != nil && edited != nil {
		cmd.PrintErrln("what you edited is kept in", path)
		return err
	}
	return errors.Join(err, os.RemoveAll(dir))
}

func (s *settings) applyEdited(cmd *cobra.Command, edited, base schema.Source, how *application) error {
	now, err := s.current(cmd)
	if err != nil {
		return err
	}
	if !bytes.Equal(now.Data, base.Data) {
		return fmt.Errorf("%s was changed by someone else meanwhile", base.Name)
	}
	return s.apply(cmd, edited, how)
}

// editUntilValid returns what the user made of a config; nil if nothing. With an error,
// what was edited last is not valid.
func (s *settings) editUntilValid(cmd *cobra.Command, path string, base schema.Source) ([]byte, error) {
	text, remarks := base.Data, "" // remarks are the faults of text
	invalid := false
	for {
		shown := append([]byte(remarks), text...)
		if err := os.WriteFile(path, shown, 0o600); err != nil {
			return nil, err
		}
		if err := openEditor(cmd.Context(), path, cmd); err != nil {
			return nil, err
		}
		saved, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		edited := withoutRemarks(base.Name, saved)
		switch {
		case bytes.Equal(edited, base.Data):
			cmd.PrintErrln("no changes")
			return nil, nil
		case invalid && bytes.Equal(saved, shown):
			return edited, errors.New("the config is not valid, and was not edited any more")
		}
		_, err = load.Config(base.Name, edited)
		var problems schema.Problems
		if !errors.As(err, &problems) {
			return edited, err
		}
		invalid, text, remarks = true, edited, remarksOf(base.Name, problems)
		if mark := markOf(base.Name); mark == "" {
			cmd.PrintErrln(problems.Explain())
		}
	}
}

// openEditor runs the user's editor, which may have arguments of its own.
func openEditor(ctx context.Context, path string, cmd *cobra.Command) error {
	editor := cmp.Or(os.Getenv("VISUAL"), os.Getenv("EDITOR"), "vi")
	run := exec.CommandContext(ctx, "sh", "-c", editor+` "$1"`, "sh", path)
	run.Stdin, run.Stdout, run.Stderr = cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr()
	if err := run.Run(); err != nil {
		return fmt.Errorf("the editor %q: %w", editor, err)
	}
	return nil
}

// markOf begins a line with a remark of spanctl's, "" where there are no comments.
func markOf(name string) string {
	switch strings.ToLower(filepath.Ext(name)) {
	case ".json":
		return ""
	case ".yaml", ".yml":
		return "#! "
	default:
		return "//! "
	}
}

func remarksOf(name string, problems schema.Problems) string {
	mark := markOf(name)
	if mark == "" {
		return ""
	}
	var b strings.Builder
	b.WriteString(mark + "The config is not valid. Lines like this one are left out.\n")
	for line := range strings.Lines(problems.Explain() + "\n") {
		b.WriteString(strings.TrimRight(mark+line, " \n") + "\n")
	}
	return b.String()
}

func withoutRemarks(name string, text []byte) []byte {
	mark := strings.TrimSpace(markOf(name))
	if mark == "" {
		return text
	}
	var out []byte
	for line := range bytes.Lines(text) {
		if !bytes.HasPrefix(line, []byte(mark)) {
			out = append(out, line...)
		}
	}
	return out
}
