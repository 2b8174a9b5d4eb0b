package schema

import (
	"bytes"
	"encoding/json"
	stderrors "errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/errors"
	"cuelang.org/go/cue/token"
)

// Problem is one fault of a machine config. Fields that do not apply are empty.
type Problem struct {
	// File, Line and Column say where; Line and Column count from 1.
	File         string
	Line, Column int
	// Path is the field, such as "machine.network.kubespan.mtu".
	Path string
	// Value is what was found, as the user wrote it.
	Value string
	// Reason says what is wrong, Want what would be right.
	Reason, Want string
}

func (p Problem) Error() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", p.Line, p.Column)
	}
	for _, part := range []string{p.Path, p.Value} {
		if part != "" {
			b.WriteString(": " + part)
		}
	}
	b.WriteString(": " + p.Reason)
	if p.Want != "" {
		b.WriteString("; want " + p.Want)
	}
	return b.String()
}

// Problems are all faults of a machine config in the order of their positions.
type Problems []Problem

func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// sort brings problems into the order of the file.
func (ps Problems) sort() {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		switch {
		case a.Line != b.Line:
			return a.Line - b.Line
		case a.Column != b.Column:
			return a.Column - b.Column
		default:
			return strings.Compare(a.Path, b.Path)
		}
	})
}

// syntaxProblems turns a parser's errors into Problems.
func syntaxProblems(name string, data []byte, err error) Problems {
	var problems Problems
	for _, e := range errors.Errors(err) {
		p := Problem{File: name, Reason: scrub(messageOf(e))}
		p.at(positionIn(name, errors.Positions(e)))
		if p.Line == 0 || formatOf(name) == FormatJSON {
			p.locate(data, err)
		}
		if !slices.Contains(problems, p) {
			problems = append(problems, p)
		}
	}
	problems.sort()
	return problems
}

// yamlPosition matches the line that the YAML parser puts before a message.
var yamlPosition = regexp.MustCompile(`^(?s).*?:(\d+): (.*)$`)

// locate finds the position of a syntax error in the message of a parser that
// does not give it otherwise.
func (p *Problem) locate(data []byte, err error) {
	if formatOf(p.File) == FormatJSON {
		var syntax *json.SyntaxError
		if stderrors.As(json.Unmarshal(data, new(any)), &syntax) {
			before := data[:min(max(int(syntax.Offset)-1, 0), len(data))]
			p.Line = bytes.Count(before, []byte("\n")) + 1
			p.Column = len(before) - bytes.LastIndexByte(before, '\n')
			p.Reason = scrub(syntax.Error())
		}
		return
	}
	p.Line, p.Column = 1, 1
	p.Reason = strings.TrimPrefix(scrub(err.Error()), p.File+": ")
	if match := yamlPosition.FindStringSubmatch(err.Error()); match != nil {
		p.Line, _ = strconv.Atoi(match[1])
		p.Reason = scrub(match[2])
	}
	if lines := strings.Split(string(data), "\n"); p.Line >= 1 && p.Line <= len(lines) {
		line := lines[p.Line-1]
		p.Column = len(line) - len(strings.TrimLeft(line, " \t")) + 1
	}
}

// problems validates the unified config and says what is wrong with it, one
// Problem a path. Check finds what is wrong with the whole.
func (s *source) problems(full cue.Value, check func(*source, cue.Value) Problems) Problems {
	var problems Problems
	seen := map[string]bool{}
	add := func(p Problem) {
		if !seen[p.Path] {
			seen[p.Path] = true
			problems = append(problems, p)
		}
	}
	for _, found := range s.checkValues() {
		add(found)
	}
	for _, e := range errors.Errors(full.Validate(cue.Concrete(true))) {
		add(s.problem(e))
	}
	if check != nil {
		for _, found := range check(s, full) {
			add(found)
		}
	}
	problems.sort()
	return problems
}

// problem explains one error of CUE's in the terms of the schema.
func (s *source) problem(e errors.Error) Problem {
	path := e.Path()
	for len(path) > 0 && strings.HasPrefix(path[0], "#") {
		path = path[1:]
	}
	value := s.user.LookupPath(selectors(path))
	p := Problem{File: s.name, Path: dotted(path)}
	p.at(s.position(value, e))
	f, ok := s.fields[schemaPath(path)]
	if !ok {
		p.Reason = scrub(messageOf(e))
		return p
	}
	p.Want, p.Value, p.Reason = f.want, f.show(value), f.fault(value, e)
	return p
}

// position picks where in the user's file a fault is: at the value, or where
// the error points.
func (s *source) position(value cue.Value, e errors.Error) token.Pos {
	if pos := value.Pos(); value.Exists() && pos.IsValid() && pos.Filename() == s.name {
		return pos
	}
	return positionIn(s.name, errors.Positions(e))
}

// positionIn is the first of positions that lies in the named file.
func positionIn(name string, positions []token.Pos) token.Pos {
	for _, pos := range positions {
		if pos.IsValid() && pos.Filename() == name {
			return pos
		}
	}
	return token.NoPos
}

func (p *Problem) at(pos token.Pos) {
	if pos.IsValid() {
		p.Line, p.Column = pos.Line(), pos.Column()
	}
}

// messageOf formats the message of e alone, without the path and positions
// that its Error method may add.
func messageOf(e errors.Error) string {
	format, args := e.Msg()
	return fmt.Sprintf(format, args...)
}

// secretLike matches runs of the base64 alphabets as long as a key.
var secretLike = regexp.MustCompile(`[A-Za-z0-9+/_-]{32,}=*`)

// scrub takes out of a foreign message whatever could be a key: a parser may
// quote the text that it could not read.
func scrub(message string) string { return secretLike.ReplaceAllString(message, hidden) }

func quoteAll(names []string) string {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = fmt.Sprintf("%q", name)
	}
	return strings.Join(quoted, ", ")
}
