package load

import (
	"fmt"
	"sync"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/cuecontext"

	"github.com/spanmesh/span/schema"
	"github.com/spanmesh/span/schema/internal/field"
	"github.com/spanmesh/span/schema/internal/files"
)

// workshop is a CUE context with the compiled schema. One load at a time uses it.
type workshop struct {
	ctx   *cue.Context
	shape cue.Value
	// used is the size of the files that were loaded, in bytes.
	used int
}

// maxUsed is the size of all files after which a workshop is not used again, in bytes: a context
// keeps the names of all fields that it compiled.
const maxUsed = 256 << 10

// idle has workshops that no load uses. Compiling the schema takes as long as a small config.
var idle sync.Pool

// enter returns a workshop that nobody else uses. leave must be called when none of its values is
// used any more.
func enter(sources []schema.Source) (*workshop, error) {
	w, ok := idle.Get().(*workshop)
	if !ok {
		var err error
		if w, err = newWorkshop([]byte(field.Inlined)); err != nil {
			return nil, err
		}
	}
	for _, one := range sources {
		// A load costs a little even if the file is empty. The size of a package is not known.
		w.used += len(one.Data) + 1<<10
		if one.Data == nil {
			w.used = maxUsed
		}
	}
	return w, nil
}

func (w *workshop) leave() {
	if w != nil && w.used < maxUsed {
		idle.Put(w)
	}
}

func newWorkshop(text []byte) (*workshop, error) {
	ctx := cuecontext.New()
	shape := ctx.CompileBytes(text, cue.Filename(files.SchemaName)).LookupPath(cue.ParsePath("#Machine"))
	if err := shape.Err(); err != nil {
		return nil, fmt.Errorf("compile the schema: %w", err)
	}
	return &workshop{ctx: ctx, shape: shape}, nil
}

// open returns the fields that have a default in the schema and still no value in the config: that
// of the user's files competes with it, or they leave the value open.
func (l *loader) open() (paths []string) {
	if l.full.IncompleteKind() == cue.BottomKind && l.full.Kind() != cue.StructKind {
		return nil
	}
	for _, path := range field.Defaults() {
		v, _ := at(l.full, path).Default()
		if v.Kind() == cue.BottomKind && v.IncompleteKind() != cue.BottomKind {
			paths = append(paths, path)
		}
	}
	return paths
}

// reload loads a config again without the schema's defaults of some fields. CUE has no order among
// defaults: where the user's files have another one, neither holds.
func (l *loader) reload(in Input, open []string) (*loader, *schema.Config, error) {
	text, err := field.Without(field.Inlined, open)
	if err != nil {
		return nil, nil, err
	}
	again := newLoader(in)
	again.complete, again.place = l.complete, l.place
	if again.files.Schema, err = field.Without(string(schema.CUE()), open); err != nil {
		return nil, nil, err
	}
	if again.workshop, err = newWorkshop(text); err != nil {
		return nil, nil, err
	}
	again.workshop.used = maxUsed // no other config has this schema
	config, err := again.once(in)
	return again, config, err
}
