package cli

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/spanmesh/span/schema"
	"github.com/spanmesh/span/schema/load"
)

// editOptions are the flags of `spanctl edit`.
type editOptions struct{ apply applyFlags }

func newEdit(g *globals) *cobra.Command {
	o := &editOptions{}
	cmd := agentCommand(g, oneNode, &cobra.Command{
		Use:   "edit",
		Short: "Edit the machine's config in your editor",
		Long: `Open the config where the agent reads it in $VISUAL or $EDITOR, or vi. Once the editor
ends, the config is checked. If it is not valid, the editor opens again with the faults
as comments. A config that was not changed is left alone.

What happens then is the mode:
` + modeHelp,
		Args: cobra.NoArgs,
	}, o.run)
	o.apply.flags(cmd, modeAuto)
	return cmd
}

// run opens the editor until the config is valid, and applies it. What was edited is kept
// if that fails.
func (o *editOptions) run(ctx context.Context, s *agentSession, _ []string) error {
	base, err := s.storedConfig(ctx)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "spanctl-edit-")
	if err != nil {
		return err
	}
	path := filepath.Join(dir, filepath.Base(base.Name))
	edited, err := editUntilValid(ctx, s.streams, path, base)
	if err == nil && edited != nil {
		err = o.applyEdited(ctx, s, schema.Source{Name: base.Name, Data: edited}, base)
	}
	if err != nil && edited != nil {
		s.note("what you edited is kept in", path)
		return err
	}
	return errors.Join(err, os.RemoveAll(dir))
}

// applyEdited applies a config, unless the stored one was changed since base was read.
func (o *editOptions) applyEdited(ctx context.Context, s *agentSession, edited, base schema.Source) error {
	err := o.apply.applyOver(ctx, s, edited, base.Data)
	if isConflict(err) {
		return fmt.Errorf("%s was changed by someone else meanwhile", base.Name)
	}
	return err
}

// editUntilValid returns what the user made of a config; nil if nothing. With an error,
// what was edited last is not valid.
func editUntilValid(ctx context.Context, s streams, path string, base schema.Source) ([]byte, error) {
	text, remarks := base.Data, "" // remarks are the faults of text
	invalid := false
	for {
		shown := append([]byte(remarks), text...)
		saved, err := editOnce(ctx, s, path, shown)
		if err != nil {
			return nil, err
		}
		edited := withoutRemarks(base.Name, saved)
		switch {
		case bytes.Equal(edited, base.Data):
			s.note("no changes")
			return nil, nil
		case invalid && bytes.Equal(edited, text):
			return edited, errors.New("the config is not valid, and was not edited any more")
		}
		_, err = load.Config(base.Name, edited)
		var problems schema.Problems
		if !errors.As(err, &problems) {
			return edited, err
		}
		invalid, text, remarks = true, edited, remarksOf(base.Name, problems)
		if remarkMark(base.Name) == "" {
			s.note(problems.Explain())
		}
	}
}

// editOnce returns a text as the user saved it.
func editOnce(ctx context.Context, s streams, path string, text []byte) ([]byte, error) {
	if err := os.WriteFile(path, text, 0o600); err != nil {
		return nil, err
	}
	if err := openEditor(ctx, s, path); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
}

// openEditor runs the user's editor, which may have arguments of its own.
func openEditor(ctx context.Context, s streams, path string) error {
	editor := cmp.Or(os.Getenv("VISUAL"), os.Getenv("EDITOR"), "vi")
	run := exec.CommandContext(ctx, "sh", "-c", editor+` "$1"`, "sh", path)
	run.Stdin, run.Stdout, run.Stderr = s.in, s.out, behind(s.err)
	if err := run.Run(); err != nil {
		return fmt.Errorf("the editor %q: %w", editor, err)
	}
	return nil
}

// remarkMark returns what begins a line with a remark of spanctl's; "" where the format
// has no comments.
func remarkMark(name string) string {
	switch strings.ToLower(filepath.Ext(name)) {
	case ".json":
		return ""
	case ".yaml", ".yml":
		return "#! "
	default:
		return "//! "
	}
}

// remarksOf returns the faults of a config as comments.
func remarksOf(name string, problems schema.Problems) string {
	mark := remarkMark(name)
	if mark == "" {
		return ""
	}
	var b strings.Builder
	b.WriteString(mark + "The config is not valid. Lines like this one are left out.\n")
	for line := range strings.Lines(plainLines(problems.Explain()) + "\n") {
		b.WriteString(strings.TrimRight(mark+line, " \n") + "\n")
	}
	return b.String()
}

func withoutRemarks(name string, text []byte) []byte {
	mark := strings.TrimSpace(remarkMark(name))
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
