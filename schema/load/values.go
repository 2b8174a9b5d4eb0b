package load

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/errors"
	"cuelang.org/go/cue/token"

	"github.com/spanmesh/span/schema"
	"github.com/spanmesh/span/schema/internal/check"
	"github.com/spanmesh/span/schema/internal/field"
	"github.com/spanmesh/span/schema/internal/files"
)

// checkValues checks every value that the user wrote: whether the schema has such a field, whether
// the kind fits, and the check that @check names.
func (l *loader) checkValues() schema.Problems {
	var problems schema.Problems
	add := func(path []string, v cue.Value, p schema.Problem) {
		p.File, p.Path = l.name, l.dotted(path)
		l.files.At(&p, l.position(v, nil))
		problems = append(problems, p)
	}
	var walk func(path []string, v cue.Value)
	walk = func(path []string, v cue.Value) {
		f, known := field.All()[field.Path(path)]
		if !known {
			add(path, v, l.unknown(path, v))
			return
		}
		v, _ = v.Default()
		if kind := v.Kind(); kind != cue.BottomKind && kind&f.Kind == 0 {
			add(path, v, schema.Problem{Value: l.show(field.Path(path), v), Want: f.Want, Reason: l.fault(field.Path(path), v, nil)})
			return
		}
		switch v.Kind() {
		case cue.StructKind:
			for it, err := v.Fields(); err == nil && it.Next(); {
				walk(append(slices.Clip(path), it.Selector().Unquoted()), it.Value())
			}
		case cue.ListKind:
			items, err := v.List()
			for i := 0; err == nil && items.Next(); i++ {
				walk(append(slices.Clip(path), strconv.Itoa(i)), items.Value())
			}
		default:
			if err := l.verify(f, v); err != nil {
				add(path, v, schema.Problem{Value: l.show(field.Path(path), v), Reason: err.Error(), Want: f.Want})
			}
		}
	}
	walk(nil, l.user)
	return problems
}

// maxShown is the length of the longest value that is shown in full, in bytes.
const maxShown = 60

// show returns a scalar at a path as the user wrote it. It returns "(hidden)" for a secret and
// for text where a struct with a secret belongs, and "" for a value that is not a scalar.
func (l *loader) show(path string, v cue.Value) string {
	if field.All()[path].Secret && v.Exists() {
		return schema.Hidden
	}
	switch v.Kind() {
	case cue.StringKind, cue.NumberKind, cue.IntKind, cue.FloatKind, cue.BoolKind:
		if text, err := v.String(); !field.Shows(path) || err == nil && files.IsKey(text) && !field.All()[path].TakesKey() {
			return schema.Hidden
		}
		text := fmt.Sprint(v)
		if !l.isWritten(v) {
			return files.Computed
		}
		if lines, err := v.String(); err == nil && strings.Contains(lines, "\n") {
			text = strconv.Quote(lines) // CUE would write several lines
		}
		text = l.files.Conceal(text)
		if len(text) > maxShown {
			text = strings.ToValidUTF8(text[:maxShown], "") + "…"
		}
		return text
	default:
		return ""
	}
}

// doesNotFit is the reason of a value without a better one.
const doesNotFit = "does not fit"

var errDoesNotFit = fmt.Errorf("%s", doesNotFit)

// isWritten reports whether a file has a scalar as it is. Else it may be made of a secret.
func (l *loader) isWritten(v cue.Value) bool {
	if text, err := v.String(); err == nil {
		return l.files.IsWritten(text)
	}
	return v.Kind() == cue.BoolKind || l.files.IsWritten(fmt.Sprint(v))
}

// fault says in words why CUE refused a value at a path. E may be nil.
func (l *loader) fault(path string, v cue.Value, e errors.Error) string {
	f, got := field.All()[path], v.Kind()
	switch {
	case v.Exists() && got == cue.BottomKind && v.IncompleteKind() != cue.BottomKind:
		return l.openness(path, v)
	case !v.Exists() || got == cue.BottomKind:
		return l.refusal(path, e)
	case got&f.Kind == 0:
		return fmt.Sprintf("is %s where %s belongs", field.Article(got), field.Article(f.Kind))
	}
	if err := l.verify(f, v); err != nil {
		return err.Error()
	}
	if got&cue.NumberKind != 0 {
		return "is out of range"
	}
	return doesNotFit
}

// openness says in words why a value at a path is not concrete.
func (l *loader) openness(path string, v cue.Value) string {
	all := rivals(v)
	if len(all) < 2 {
		return "has no concrete value"
	}
	shown := make([]string, len(all))
	for i, one := range all {
		if shown[i] = l.show(path, one); shown[i] == "" {
			shown[i] = field.Article(one.Kind())
		}
	}
	return "has defaults that compete, " + strings.Join(shown, " and ") +
		`: keep one of them, or write a value without "*", which overrides all`
}

// refusal says in words why CUE has an error in place of a value. Other messages of CUE are kept, such
// as that of a division by zero.
func (l *loader) refusal(path string, e errors.Error) string {
	if e == nil {
		return "is not valid"
	}
	format, _ := e.Msg()
	for _, known := range []struct{ cue, ours string }{
		{"conflicting values", doesNotFit},
		{"incompatible list lengths", doesNotFit},
		{"empty disjunction", doesNotFit},
		{"out of bound", doesNotFit},
		{"cannot unify", doesNotFit},
		{"incomplete", "has no concrete value"},
		{"non-concrete", "has no concrete value"},
		{"ambiguous", "has no concrete value"},
	} {
		if strings.Contains(format, known.cue) {
			return known.ours
		}
	}
	return l.message(path, e)
}

// contradicted returns the reason of a value that another one in the user's files contradicts, or "".
// At is the position that the problem has.
func (l *loader) contradicted(e errors.Error, at token.Pos) string {
	format, _ := e.Msg()
	var users []token.Pos
	for _, pos := range errors.Positions(e) {
		if files.IsUsers(pos) {
			users = append(users, pos)
		}
	}
	if !files.Contradicts(format) || len(users) < 2 {
		return ""
	}
	// On the same line, at may be the place of the field's name, before that of its value.
	elsewhere := slices.IndexFunc(users, func(pos token.Pos) bool { return pos.Filename() != at.Filename() || pos.Line() != at.Line() })
	if elsewhere < 0 {
		elsewhere = len(users) - 1
		if users[elsewhere].Column() == at.Column() {
			elsewhere = 0
		}
	}
	var other schema.Problem
	l.files.At(&other, users[elsewhere])
	return fmt.Sprintf("contradicts the value at %s:%d:%d", other.File, other.Line, other.Column)
}

// verify runs the check that @check names. Its error says nothing about a value that is computed.
func (l *loader) verify(f field.Field, v cue.Value) error {
	err := verify(f, v)
	if err != nil && !l.isWritten(v) {
		return errDoesNotFit
	}
	return err
}

// verify runs the check that @check names.
func verify(f field.Field, v cue.Value) error {
	if f.Check == "" {
		return nil
	}
	if n, err := v.Int64(); err == nil {
		return check.Number(f.Check, n)
	}
	text, err := v.String()
	if err != nil {
		return nil // not a string, which CUE reports
	}
	return check.Text(f.Check, text)
}
