package load

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/cuecontext"
	"cuelang.org/go/cue/errors"
	"cuelang.org/go/cue/token"

	"github.com/spanmesh/span/schema"
	"github.com/spanmesh/span/schema/internal/check"
	"github.com/spanmesh/span/schema/internal/field"
	"github.com/spanmesh/span/schema/internal/files"
)

// problems returns the faults of the unified config, one for each path.
func (l *loader) problems(full cue.Value) schema.Problems {
	l.collectSecrets()
	var problems schema.Problems
	seen := map[string]bool{}
	add := func(p schema.Problem) {
		if !seen[p.Path] {
			seen[p.Path] = true
			problems = append(problems, p)
		}
	}
	for _, found := range l.checkValues() {
		add(found)
	}
	// If no part of a disjunction fits, CUE returns an error without a position for the
	// disjunction, and then an error for each part.
	found := errors.Errors(full.Validate(cue.Concrete(true)))
	slices.SortStableFunc(found, func(a, b errors.Error) int { return withoutPosition(a) - withoutPosition(b) })
	for _, found := range l.checkComplete(full) {
		add(found)
	}
	for _, e := range found {
		if !l.isBelowUnknown(e, seen) {
			add(l.problem(e))
		}
	}
	// A config with another fault is refused anyway.
	several := len(problems) > 1
	problems = slices.DeleteFunc(problems, func(p schema.Problem) bool {
		return l.repeats(p, seen) || several && p.Path == check.KubeSpan && settings{l.user, full}.Missing(p.Path)
	})
	problems.Sort()
	return problems
}

// isBelowUnknown reports whether an error is in a field that the schema does not have, which is a
// problem already.
func (l *loader) isBelowUnknown(e errors.Error, seen map[string]bool) bool {
	path := l.pathOf(e)
	for end := 1; end < len(path); end++ {
		if _, known := field.All()[field.Path(path[:end])]; !known && seen[l.dotted(path[:end])] {
			return true
		}
	}
	return false
}

// repeats reports whether p repeats a more specific problem. A value that may be a struct or a
// scalar has a problem of its own and one for each field in it. Of these, the field's is kept if
// there is only one field, and else the value's.
func (l *loader) repeats(p schema.Problem, seen map[string]bool) bool {
	if f := field.All()[field.Parse(p.Path)]; f.Kind&cue.StructKind != 0 && f.Kind != cue.StructKind {
		inner, others := 0, 0
		for it, err := l.user.LookupPath(cue.ParsePath(p.Path)).Fields(); err == nil && it.Next(); others++ {
			if seen[field.Join(p.Path, it.Selector().Unquoted())] {
				inner++
			}
		}
		return inner == 1 && others == 1
	}
	at := strings.LastIndex(p.Path, ".")
	if at < 0 || !seen[p.Path[:at]] {
		return false
	}
	parent := field.All()[field.Parse(p.Path[:at])]
	fields, _ := l.user.LookupPath(cue.ParsePath(p.Path[:at])).Fields()
	return parent.Kind&cue.StructKind != 0 && parent.Kind != cue.StructKind && fields != nil && fields.Next() && fields.Next()
}

// withoutPosition returns 1 for an error without a position in the user's files, else 0.
func withoutPosition(e errors.Error) int {
	if files.UsersFirst(errors.Positions(e)).IsValid() {
		return 0
	}
	return 1
}

// pathOf returns the path of an error, from the root of the config.
func (l *loader) pathOf(e errors.Error) []string {
	path := slices.Clone(e.Path())
	for i, part := range path {
		if name, err := strconv.Unquote(part); err == nil {
			path[i] = name
		}
	}
	for len(path) > 0 && strings.HasPrefix(path[0], "#") {
		path = path[1:]
	}
	if len(l.prefix) > 0 && len(path) >= len(l.prefix) && slices.Equal(path[:len(l.prefix)], l.prefix) {
		path = path[len(l.prefix):]
	}
	return path
}

// problem returns the problem for an error of CUE, in the words of the schema.
func (l *loader) problem(e errors.Error) schema.Problem {
	path := l.pathOf(e)
	format, _ := e.Msg()
	notAllowed := strings.Contains(format, "field not allowed")
	if notAllowed && len(path) > 1 && withoutPosition(e) > 0 {
		// It is about one of the alternatives that a struct of the user's does not fit.
		path = path[:len(path)-1]
	}
	value := l.user.LookupPath(field.Selectors(path))
	if l.holdsConfigs(path) {
		path = path[:2]
		p := l.unchosen(path)
		l.files.At(&p, l.position(l.user.LookupPath(field.Selectors(path[:1])), e))
		return p
	}
	p := schema.Problem{File: l.name, Path: l.dotted(path)}
	l.files.At(&p, l.position(value, e))
	at := field.Path(path)
	f, ok := field.All()[at]
	if !ok && notAllowed && len(path) > 1 {
		unknown := l.unknown(path, value)
		p.Reason, p.Want = unknown.Reason, unknown.Want
		return p
	}
	if !ok {
		p.Reason = l.message(at, e)
		return p
	}
	if value.IncompleteKind() == cue.BottomKind && len(path) == 0 {
		p.Reason, _, _ = strings.Cut(l.message(at, e), "\n")
		if name, found := strings.CutSuffix(p.Reason, " redeclared as imported package name"); found {
			p.Reason = fmt.Sprintf("the import has the name of the field %q", name)
			p.Want = fmt.Sprintf("another name for it, such as `import schema %q` and schema.#Machine", schema.Package)
		}
		return p
	}
	if value.IncompleteKind() == cue.BottomKind {
		value = l.refused(&p, at, value, e)
	}
	p.Want, p.Value, p.Reason = f.Want, l.show(at, value), l.fault(at, value, e)
	if p.Reason == doesNotFit {
		p.Reason = cmp.Or(l.contradicted(e, l.position(value, e)), p.Reason)
	}
	return p
}

// refused returns the value that CUE has an error in place of, and sets its position: what the user
// wrote includes the schema, as in machine.#Machine & {…}. It returns v if that is not known.
func (l *loader) refused(p *schema.Problem, path string, v cue.Value, e errors.Error) cue.Value {
	written, pos, found := l.written(e)
	if !found || l.refusal(path, e) != doesNotFit {
		return v
	}
	l.files.At(p, pos)
	return written
}

// written returns the literal that an error is about with its position, if there is only one.
func (l *loader) written(e errors.Error) (v cue.Value, at token.Pos, found bool) {
	seen := map[token.Position]bool{}
	for _, pos := range errors.Positions(e) {
		if !files.IsUsers(pos) || seen[pos.Position()] {
			continue
		}
		seen[pos.Position()] = true
		if literal := l.files.Literal(pos); literal != nil {
			if found {
				return v, at, false
			}
			v, at, found = cuecontext.New().BuildExpr(literal), pos, true
		}
	}
	return v, at, found && v.Err() == nil
}

// position returns where in the user's files a fault is: the position of the value, or else of the
// error. E may be nil.
func (l *loader) position(value cue.Value, e errors.Error) token.Pos {
	if pos := value.Pos(); value.Exists() && files.IsUsers(pos) {
		return pos
	}
	if e != nil {
		if pos := files.UsersFirst(errors.Positions(e)); pos.IsValid() {
			return pos
		}
	}
	return writtenAt(value)
}

// writtenAt returns the position of what the user wrote of a value that includes the schema.
func writtenAt(v cue.Value) token.Pos {
	if pos := v.Pos(); files.IsUsers(pos) {
		return pos
	}
	if op, parts := v.Expr(); op == cue.AndOp {
		for _, part := range parts {
			if pos := writtenAt(part); pos.IsValid() {
				return pos
			}
		}
	}
	return token.NoPos
}

// message returns the message of an error at a path, without its path and positions and without
// secrets. The values in a message about a secret field may be computed: all are hidden.
func (l *loader) message(path string, e errors.Error) string {
	if _, known := field.All()[path]; known && path != "" && !field.Shows(path) {
		format, args := e.Msg()
		args = slices.Clone(args)
		for i := range args {
			args[i] = schema.Hidden
		}
		return fmt.Sprintf(strings.NewReplacer("%d", "%s", "%q", "%s", "%v", "%s").Replace(format), args...)
	}
	return l.files.Message(l.name, e)
}

// dotted returns a path in CUE's notation, without names that may be secrets.
func (l *loader) dotted(path []string) string {
	shown := slices.Clone(path)
	for i, name := range path {
		if !files.ShowsName(strings.Split(field.Path(path[:i]), "."), name) {
			shown[i] = schema.Hidden
		}
	}
	return field.Dotted(shown)
}
