package load

import (
	"bytes"
	"slices"
	"strings"

	"cuelang.org/go/cue"

	"github.com/spanmesh/span/schema"
	"github.com/spanmesh/span/schema/internal/field"
)

// hasMarks reports whether the sources may have defaults of their own.
func hasMarks(in Input) bool {
	for _, one := range in.Sources {
		if one.Data == nil || schema.FormatOf(one.Name) == schema.FormatCUE && bytes.Contains(one.Data, []byte("*")) {
			return true
		}
	}
	return false
}

// alone returns a loader with what the user's files say by themselves: the schema that they import
// takes anything.
func (l *loader) alone(in Input) (*loader, error) {
	alone := newLoader(in)
	alone.place = l.place
	alone.files.Schema = field.Unchecked(schema.CUE())
	err := alone.read(l.workshop.ctx, in)
	return alone, err
}

// at returns the value at a dotted path of field names. Each value on the way is the default of
// what the files allow there, as in a struct that has one.
func at(v cue.Value, path string) cue.Value {
	for _, name := range strings.Split(path, ".") {
		v, _ = v.Default()
		v = v.LookupPath(cue.MakePath(cue.Str(name)))
	}
	return v
}

// checkDefaults compares the settings with the defaults that the user's files have. It returns the
// fields where the schema's default took the place of theirs, and problems for those of their
// defaults that the schema does not allow. CUE drops either without a word.
func (l *loader) checkDefaults(in Input) (replaced []string, problems schema.Problems) {
	if !hasMarks(in) {
		return nil, nil
	}
	alone, err := l.alone(in)
	if err != nil {
		return nil, nil // a value that only the schema completes: the files have no default there
	}
	hasDefault := map[string]bool{}
	for _, path := range field.Defaults() {
		hasDefault[path] = true
	}
	for path, f := range field.All() {
		if path == "" || strings.Contains(path, field.Element) || len(f.Children) > 0 {
			continue
		}
		own, marked := at(alone.user, path).Default()
		got, _ := at(l.full, path).Default()
		switch {
		case !marked || !own.IsConcrete() || got.Equals(own):
		case l.shape.LookupPath(field.Lookup(path)).Unify(own).Err() != nil:
			p := schema.Problem{File: l.name, Path: l.dotted(strings.Split(path, ".")), Value: l.show(path, own),
				Reason: l.fault(path, own, nil), Want: f.Want}
			alone.files.At(&p, own.Pos())
			problems = append(problems, p)
		case hasDefault[path]:
			replaced = append(replaced, path)
		}
	}
	slices.Sort(replaced)
	problems.Sort()
	return replaced, problems
}

// rivals returns the defaults of a value that has several, so that none holds.
func rivals(v cue.Value) (all []cue.Value) {
	parts := []cue.Value{v}
	if op, both := v.Expr(); op == cue.AndOp {
		parts = both
	}
	for _, part := range parts {
		one, own := part.Default()
		if !own {
			continue
		}
		several := []cue.Value{one}
		if op, either := one.Expr(); op == cue.OrOp {
			several = either
		}
		for _, one := range several {
			if one.IsConcrete() && !slices.ContainsFunc(all, one.Equals) {
				all = append(all, one)
			}
		}
	}
	return all
}
