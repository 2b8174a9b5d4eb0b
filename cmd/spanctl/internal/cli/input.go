package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/spanmesh/span/cmd/spanctl/internal/evaluate"
	"github.com/spanmesh/span/schema"
	"github.com/spanmesh/span/schema/load"
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
	tags []string
	// format is the format of all files.
	format  formatFlag
	patches patches
}

// flags adds all flags of the input.
func (c *configInput) flags(cmd *cobra.Command, fallback ...string) {
	c.sourceFlags(cmd, fallback...)
	cmd.Flags().StringVarP(&c.expression, "expression", "e", "", "CUE expression that picks the config out of the files, such as machines.web1")
	cmd.Flags().StringArrayVarP(&c.tags, "inject", "t", nil, "value for the fields with @tag in CUE files, as name=value, or the name of a tag for @if; may be given several times")
	c.patches.flag(cmd)
}

// sourceFlags adds the flags that name the files and their format.
func (c *configInput) sourceFlags(cmd *cobra.Command, fallback ...string) {
	c.fileFlag(cmd, fallback...)
	c.format.flag(cmd.Flags())
}

// fileFlag adds the flag that names the files.
func (c *configInput) fileFlag(cmd *cobra.Command, fallback ...string) {
	cmd.Flags().StringArrayVarP(&c.files, "config", "f", fallback,
		"machine config: a file or a pipe in CUE, YAML or JSON, a directory with a CUE package, or - for standard input; several are unified [$SPANCTL_CONFIG]")
}

// names returns the files as the user named them, with the expression.
func (c *configInput) names() string {
	names := strings.Join(c.files, ", ")
	if c.expression != "" {
		names += " -e " + plain(c.expression)
	}
	return names
}

// read reads the files.
func (c *configInput) read(ctx context.Context, s streams) (load.Input, error) {
	in := load.Input{Expression: c.expression, Tags: c.tags}
	for _, path := range c.files {
		one, err := sourceAt(ctx, s, path, c.format)
		if err != nil {
			return in, fmt.Errorf("read the machine config: %w", err)
		}
		in.Sources = append(in.Sources, one)
	}
	return in, nil
}

// load reads, patches and checks the config, and prints what it probably does not mean. Source is
// it as one file.
func (c *configInput) load(ctx context.Context, s streams) (source schema.Source, err error) {
	in, err := c.read(ctx, s)
	if err != nil {
		return source, err
	}
	patches, err := c.patches.read(ctx)
	if err != nil {
		return source, err
	}
	result, err := evaluated(ctx, s, evaluate.Request{Input: in, Patches: patches})
	if err != nil {
		return source, err
	}
	for _, warning := range result.Config.Warnings() {
		s.note("warning:", warning)
	}
	return result.Source, nil
}

// evaluated evaluates a config in a process of its own.
func evaluated(ctx context.Context, s streams, r evaluate.Request) (*evaluate.Result, error) {
	result, err := (&evaluate.Evaluator{}).Evaluate(ctx, r)
	if err != nil {
		return nil, err
	}
	if result.Rewritten {
		s.note("the text of", result.Source.Name, "is generated again, without its comments: the patched field is computed in it, or shared with others")
	}
	return result, nil
}

// configOf evaluates a config that is in one file.
func configOf(ctx context.Context, s streams, source schema.Source) (*schema.Config, error) {
	result, err := evaluated(ctx, s, evaluate.Request{Input: load.Input{Sources: []schema.Source{source}}})
	if err != nil {
		return nil, err
	}
	return result.Config, nil
}

// sourceAt reads one file of any kind, or standard input.
func sourceAt(ctx context.Context, s streams, path string, format formatFlag) (schema.Source, error) {
	open := func() (io.ReadCloser, error) { return os.Open(path) }
	if path == standardInput {
		open = func() (io.ReadCloser, error) { return io.NopCloser(s.in), nil }
	} else if info, err := os.Stat(path); err == nil && info.IsDir() {
		return schema.Source{Name: path}, nil
	}
	data, err := readAny(ctx, open)
	if err != nil {
		return schema.Source{}, err
	}
	name, err := format.name(ctx, path, data)
	return schema.Source{Name: name, Data: data}, err
}

// inputTimeout is how long an input may take: what fills a pipe may ask its user for a passphrase.
const inputTimeout = 5 * time.Minute

var errInput = fmt.Errorf("it has not ended for %v", inputTimeout)

// readAny reads what may be a pipe, which need not have a writer or an end. It returns not nil
// without an error, since that stands for a directory.
func readAny(ctx context.Context, open func() (io.ReadCloser, error)) ([]byte, error) {
	ctx, stop := context.WithTimeoutCause(ctx, inputTimeout, errInput)
	defer stop()
	type content struct {
		data []byte
		err  error
	}
	// Where this gives up, the read ends with the process.
	read := make(chan content, 1)
	go func() {
		file, err := open()
		if err != nil {
			read <- content{nil, err}
			return
		}
		data, err := io.ReadAll(io.LimitReader(file, load.MaxSize+1))
		read <- content{data, errors.Join(err, file.Close())}
	}()
	select {
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case c := <-read:
		if len(c.data) > load.MaxSize {
			return nil, fmt.Errorf("it is longer than %d bytes", load.MaxSize)
		}
		return append([]byte{}, c.data...), c.err
	}
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
func (p *patches) read(ctx context.Context) ([]schema.Source, error) {
	if p.sources != nil {
		return p.sources, nil
	}
	sources := make([]schema.Source, len(p.texts))
	for i, text := range p.texts {
		if path, isFile := strings.CutPrefix(text, "@"); isFile {
			one, err := sourceAt(ctx, streams{}, path, formatFlag{})
			if err == nil && one.Data == nil {
				err = fmt.Errorf("%s is a directory", path)
			}
			if err != nil {
				return nil, fmt.Errorf("read a patch: %w", err)
			}
			sources[i] = one
			continue
		}
		format, err := formatFlag{}.format(ctx, "--patch", []byte(text))
		if err != nil {
			return nil, err
		}
		sources[i] = schema.Source{Name: "--patch" + format.Extension(), Data: []byte(text)}
	}
	p.sources = sources
	return sources, nil
}

// apply returns a config with the patches, which is valid.
func (p *patches) apply(ctx context.Context, s streams, base schema.Source) (schema.Source, error) {
	patches, err := p.read(ctx)
	if err != nil {
		return base, err
	}
	result, err := evaluated(ctx, s, evaluate.Request{Input: load.Input{Sources: []schema.Source{base}}, Patches: patches})
	if err != nil {
		return base, err
	}
	return result.Source, nil
}

// singleFile returns the one file that holds the config.
func (c *configInput) singleFile() (string, error) {
	if len(c.files) != 1 || c.files[0] == standardInput {
		return "", errors.New("--config must be one file here")
	}
	return c.files[0], nil
}
