// Docs writes the reference of the commands and of the settings.
//
//	docs reference DIRECTORY
//	docs man DIRECTORY
package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"github.com/spanmesh/span/cmd/spanctl/internal/cli"
	"github.com/spanmesh/span/schema/reference"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "docs:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 2 {
		return errors.New("wrong arguments; want reference DIRECTORY or man DIRECTORY")
	}
	// The environment must not change the defaults in the pages.
	for _, variable := range os.Environ() {
		if name, _, _ := strings.Cut(variable, "="); strings.HasPrefix(name, "SPANCTL_") {
			if err := os.Unsetenv(name); err != nil {
				return err
			}
		}
	}
	if err := os.MkdirAll(args[1], 0o755); err != nil {
		return err
	}
	root := cli.Root()
	root.DisableAutoGenTag = true
	if args[0] == "man" {
		date := time.Time{} // the same pages from the same commands
		return doc.GenManTree(root, &doc.GenManHeader{Title: "SPANCTL", Section: "1", Source: "spanctl", Date: &date}, args[1])
	}
	return writeReference(root, args[1])
}

// writeReference writes machine.md, machine.schema.json and spanctl.md.
func writeReference(root *cobra.Command, dir string) error {
	settings, err := reference.Markdown()
	if err != nil {
		return err
	}
	jsonSchema, err := reference.JSONSchema()
	if err != nil {
		return err
	}
	var commands bytes.Buffer
	commands.WriteString("<!-- Made by `make docs` from the commands. -->\n\n# The commands\n\n")
	if err := command(&commands, root); err != nil {
		return err
	}
	for name, text := range map[string][]byte{"machine.md": settings, "machine.schema.json": jsonSchema, "spanctl.md": commands.Bytes()} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// command writes a command and its subcommands.
func command(to *bytes.Buffer, c *cobra.Command) error {
	if c.Hidden || c.Name() == "help" {
		return nil
	}
	if err := doc.GenMarkdownCustom(c, to, func(file string) string {
		// All commands are in one document: a link to a file becomes a link to a heading.
		return "#" + strings.ReplaceAll(strings.TrimSuffix(file, ".md"), "_", "-")
	}); err != nil {
		return err
	}
	for _, below := range c.Commands() {
		if err := command(to, below); err != nil {
			return err
		}
	}
	return nil
}
