package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/cmd/spanctl/internal/durable"
	"github.com/spanmesh/span/schema"
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
in a block of comments, which is left out of what is stored.

A config that was not changed is left alone, and a file that is saved empty cancels the
edit. If the faults stay, the editor fails, or the config was changed by someone else
meanwhile, nothing is stored, and what you edited is kept in a file.

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
	if _, err := o.apply.asked(); err != nil {
		return err
	}
	editor, err := editorCommand(s.streams)
	if err != nil {
		return err
	}
	base, err := s.storedConfig(ctx)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "spanctl-edit-")
	if err != nil {
		return err
	}
	e := &editing{streams: s.streams, editor: editor, path: filepath.Join(dir, filepath.Base(base.Name)), base: base}
	edited, err := e.untilValid(ctx)
	if err == nil && edited != nil {
		// SIGINT in the editor ended ctx, but not the edit.
		ctx, stop := signal.NotifyContext(context.WithoutCancel(ctx), os.Interrupt, unix.SIGTERM)
		defer stop()
		err = o.applyEdited(ctx, s, schema.Source{Name: base.Name, Data: edited}, base)
	}
	if edited != nil && (err != nil || o.apply.dryRun) {
		return errors.Join(err, e.keep(edited))
	}
	return errors.Join(err, os.RemoveAll(dir))
}

// applyEdited applies a config, unless the stored one was changed since base was read.
func (o *editOptions) applyEdited(ctx context.Context, s *agentSession, edited, base schema.Source) error {
	err := o.apply.applyOver(ctx, s, edited, base.Data)
	if isConflict(err) {
		return fmt.Errorf("%s was changed by someone else meanwhile: nothing is stored", base.Name)
	}
	return err
}

// editing is one edit of a config.
type editing struct {
	streams
	editor string
	// path is the file that the editor opens.
	path string
	base schema.Source
	// failed are the texts that were saved and not valid.
	failed [][]byte
	// faults are those of the last of them.
	faults schema.Problems
}

// maxUnattended is how often an editor opens again without a terminal, at which a user could
// end it.
const maxUnattended = 10

// untilValid returns what the user made of the config; nil if nothing. With an error it is what
// was saved last.
func (e *editing) untilValid(ctx context.Context) ([]byte, error) {
	text, block := e.base.Data, remarks{}
	for {
		saved, err := e.once(ctx, block.before(text))
		edited := block.without(saved)
		if err != nil {
			if sameText(edited, e.base.Data) || isBlank(e.base.Name, edited) {
				edited = nil // nothing would be lost
			}
			return edited, err
		}
		switch {
		case sameText(edited, e.base.Data):
			e.note("no changes")
			return nil, nil
		case isBlank(e.base.Name, edited):
			e.note("cancelled: the file was saved empty; the config stays as it is")
			return nil, nil
		case slices.ContainsFunc(e.failed, func(before []byte) bool { return bytes.Equal(before, edited) }):
			e.note("the config is not valid, and was not edited any more")
			return edited, e.faults
		}
		if err = e.check(ctx, edited); !errors.As(err, &e.faults) {
			return edited, err
		}
		if e.failed = append(e.failed, edited); len(e.failed) >= maxUnattended && !isTerminal(e.in) {
			e.note("the editor was opened", len(e.failed), "times, and the config is still not valid")
			return edited, e.faults
		}
		text, block = edited, remarksOn(schema.Source{Name: e.base.Name, Data: edited}, e.faults)
	}
}

// check evaluates a config. SIGINT in the editor ended ctx, but not the edit.
func (e *editing) check(ctx context.Context, edited []byte) error {
	ctx, stop := signal.NotifyContext(context.WithoutCancel(ctx), os.Interrupt, unix.SIGTERM)
	defer stop()
	_, err := configOf(ctx, e.streams, schema.Source{Name: e.base.Name, Data: edited})
	return err
}

// once returns a text as the editor left it, also if the editor failed.
func (e *editing) once(ctx context.Context, text []byte) ([]byte, error) {
	if err := os.WriteFile(e.path, text, 0o600); err != nil {
		return text, err
	}
	err := openEditor(ctx, e.streams, e.editor, e.path)
	saved, readErr := os.ReadFile(e.path)
	if errors.Is(readErr, fs.ErrNotExist) {
		readErr = fmt.Errorf("the editor left no file at %s; the config stays as it is", e.path)
	}
	return saved, errors.Join(err, readErr)
}

// keep leaves a text in the file, for its user alone, and says so.
func (e *editing) keep(text []byte) error {
	if err := (durable.Disk{}).Write(e.path, text); err != nil {
		return fmt.Errorf("keep what you edited: %w", err)
	}
	e.note("what you edited is kept in", e.path)
	return nil
}

// sameText reports whether two texts are the same but for the end of the last line, which many
// editors add.
func sameText(a, b []byte) bool {
	return bytes.Equal(bytes.TrimRight(a, "\r\n"), bytes.TrimRight(b, "\r\n"))
}

// isBlank reports whether a text has nothing but empty lines and comments.
func isBlank(name string, text []byte) bool {
	mark := commentMark(name)
	for line := range bytes.Lines(bytes.TrimPrefix(text, []byte(byteOrderMark))) {
		line := strings.TrimSpace(string(line))
		if line != "" && !strings.HasPrefix(line, mark) {
			return false
		}
	}
	return true
}
