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
	"sync"
	"unicode"
	"unicode/utf8"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/cuecontext"
	"cuelang.org/go/cue/errors"
	"cuelang.org/go/cue/parser"
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
	// Text is the line, without what could be secret.
	Text string
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

// Reference is where the settings are documented.
const Reference = "https://github.com/spanmesh/span/blob/main/docs/reference/machine.md"

// Explain is Error with the line of each problem, a caret under the place, and where
// the settings are documented.
func (ps Problems) Explain() string {
	var b strings.Builder
	for _, p := range ps {
		b.WriteString(p.Error() + "\n")
		if p.Text == "" {
			continue
		}
		number := strconv.Itoa(p.Line)
		margin := strings.Repeat(" ", len(number))
		fmt.Fprintf(&b, " %s | %s\n %s | %s^\n", number, p.Text, margin, blank(p.Text, p.Column-1))
	}
	b.WriteString("the settings are explained at " + Reference)
	return b.String()
}

// blank is as wide as the first bytes of a line.
func blank(line string, bytes int) string {
	return strings.Map(func(r rune) rune {
		if r == '\t' {
			return r
		}
		return ' '
	}, strings.ToValidUTF8(line[:min(max(bytes, 0), len(line))], ""))
}

// sort brings problems into the order of the files.
func (ps Problems) sort() {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		switch {
		case a.File != b.File:
			return strings.Compare(a.File, b.File)
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
func (s *source) syntaxProblems(one Source, err error) Problems {
	var problems Problems
	for _, e := range errors.Errors(errors.Promote(err, "")) {
		p := Problem{File: one.Name, Reason: scrub(messageOf(e))}
		if inner := stderrors.Unwrap(e); p.Reason == "" && inner != nil {
			p.Reason = scrub(inner.Error())
		}
		s.at(&p, usersFirst(errors.Positions(e)))
		if one.Data != nil && (p.Line == 0 || formatOf(one.Name) == FormatJSON) {
			p.locate(one.Data, err)
			s.quote(&p, one.Name)
		}
		if !slices.Contains(problems, p) {
			problems = append(problems, p)
		}
	}
	problems.sort()
	return problems
}

// yamlPosition matches the line that the YAML parser puts before a message.
var yamlPosition = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^(?s).*?:(\d+): (.*)$`) })

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
	if match := yamlPosition().FindStringSubmatch(err.Error()); match != nil {
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
	// A disjunction that nothing fits is an error without a place, followed by why
	// each of its parts does not fit.
	found := errors.Errors(full.Validate(cue.Concrete(true)))
	slices.SortStableFunc(found, func(a, b errors.Error) int { return placeless(a) - placeless(b) })
	for _, e := range found {
		add(s.problem(e))
	}
	if check != nil {
		for _, found := range check(s, full) {
			add(found)
		}
	}
	problems = slices.DeleteFunc(problems, func(p Problem) bool { return s.isEcho(p, seen) })
	problems.sort()
	return problems
}

// isEcho tells a problem that is another's: of a value that may be a struct or not, and
// of the fields in it. One field that is faulty says it better, several do not.
func (s *source) isEcho(p Problem, seen map[string]bool) bool {
	if f := fields()[general(p.Path)]; f.kind&cue.StructKind != 0 && f.kind != cue.StructKind {
		inner, others := 0, 0
		for it, err := s.user.LookupPath(cue.ParsePath(p.Path)).Fields(); err == nil && it.Next(); others++ {
			if seen[join(p.Path, it.Selector().Unquoted())] {
				inner++
			}
		}
		return inner == 1 && others == 1
	}
	at := strings.LastIndex(p.Path, ".")
	if at < 0 || !seen[p.Path[:at]] {
		return false
	}
	parent := fields()[general(p.Path[:at])]
	fields, _ := s.user.LookupPath(cue.ParsePath(p.Path[:at])).Fields()
	return parent.kind&cue.StructKind != 0 && parent.kind != cue.StructKind && fields != nil && fields.Next() && fields.Next()
}

// placeless is 1 for an error without a place in what the user wrote, else 0.
func placeless(e errors.Error) int {
	if usersFirst(errors.Positions(e)).IsValid() {
		return 0
	}
	return 1
}

// pathOf is the path of an error from the root of the config on.
func (s *source) pathOf(e errors.Error) []string {
	path := slices.Clone(e.Path())
	for i, part := range path {
		if name, err := strconv.Unquote(part); err == nil {
			path[i] = name
		}
	}
	for len(path) > 0 && strings.HasPrefix(path[0], "#") {
		path = path[1:]
	}
	if len(s.prefix) > 0 && len(path) >= len(s.prefix) && slices.Equal(path[:len(s.prefix)], s.prefix) {
		path = path[len(s.prefix):]
	}
	return path
}

// problem explains one error of CUE's in the terms of the schema.
func (s *source) problem(e errors.Error) Problem {
	path := s.pathOf(e)
	value := s.user.LookupPath(selectors(path))
	if s.holdsConfigs(path) {
		path = path[:2]
		p := s.unchosen(path)
		s.at(&p, s.position(s.user.LookupPath(selectors(path[:1])), e))
		return p
	}
	p := Problem{File: s.name, Path: dotted(path)}
	s.at(&p, s.position(value, e))
	f, ok := fields()[schemaPath(path)]
	if !ok {
		p.Reason = scrub(messageOf(e))
		return p
	}
	if value.IncompleteKind() == cue.BottomKind {
		// The schema is in what the user wrote: what does not fit is not to be had as
		// a value any more.
		if written, found := s.written(e); found {
			value = written
		}
	}
	p.Want, p.Value, p.Reason = f.want, f.show(value), f.fault(value, e)
	return p
}

// written is the only literal of the user's that an error is about; two contradict
// each other.
func (s *source) written(e errors.Error) (v cue.Value, found bool) {
	seen := map[token.Position]bool{}
	for _, pos := range errors.Positions(e) {
		if !isUsers(pos) || seen[pos.Position()] {
			continue
		}
		seen[pos.Position()] = true
		if literal := s.literal(pos); literal != nil {
			if found {
				return v, false
			}
			v, found = cuecontext.New().BuildExpr(literal), true
		}
	}
	return v, found && v.Err() == nil
}

// literal is the one that begins at a place in a CUE file; nil if none does.
func (s *source) literal(pos token.Pos) (found ast.Expr) {
	if formatOf(pos.Filename()) != FormatCUE {
		return nil
	}
	file, err := parser.ParseFile(pos.Filename(), s.textOf(pos.Filename()))
	if err != nil {
		return nil
	}
	ast.Walk(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.BasicLit, *ast.UnaryExpr:
			if n.Pos().Offset() == pos.Offset() {
				found = n.(ast.Expr)
			}
			return false
		}
		return true
	}, nil)
	return found
}

// position picks where in the user's files a fault is: at the value, or where the
// error points.
func (s *source) position(value cue.Value, e errors.Error) token.Pos {
	if pos := value.Pos(); value.Exists() && isUsers(pos) {
		return pos
	}
	return usersFirst(errors.Positions(e))
}

// usersFirst is the first of positions that lies in what the user wrote.
func usersFirst(positions []token.Pos) token.Pos {
	for _, pos := range positions {
		if isUsers(pos) {
			return pos
		}
	}
	return token.NoPos
}

// at says where a problem is.
func (s *source) at(p *Problem, pos token.Pos) {
	if !isUsers(pos) {
		return
	}
	p.File, p.Line, p.Column = s.display(pos.Filename()), pos.Line(), pos.Column()
	s.quote(p, pos.Filename())
}

// secretField matches a line that has a field for secrets: nothing on it is shown.
var secretField = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`(?i)secret|presharedkey`) })

// maxText is how much of a line is shown, in bytes.
const maxText = 160

// quote puts the line of a problem into it, by the name that CUE knows the file by.
func (s *source) quote(p *Problem, name string) {
	p.Text = ""
	lines := bytes.SplitN(s.textOf(name), []byte("\n"), p.Line+1)
	if p.Line < 1 || p.Line > len(lines) {
		return
	}
	text := strings.TrimRight(string(lines[p.Line-1]), "\r")
	if secretField().MatchString(text) || !utf8.ValidString(text) || len(text) > maxText || strings.ContainsFunc(text, unprintable) {
		return
	}
	p.Text = scrub(text)
}

// unprintable tells what would upset a terminal.
func unprintable(r rune) bool { return r != '\t' && !unicode.IsPrint(r) }

// messageOf formats the message of e alone, without the path and positions
// that its Error method may add.
func messageOf(e errors.Error) string {
	format, args := e.Msg()
	return fmt.Sprintf(format, args...)
}

// secretLike matches runs of the base64 alphabets as long as a key.
var secretLike = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`[A-Za-z0-9+/_-]{32,}=*`) })

// scrub takes out of a foreign message whatever could be a key: a parser may
// quote the text that it could not read.
func scrub(message string) string { return secretLike().ReplaceAllString(message, hidden) }

func quoteAll(names []string) string {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = fmt.Sprintf("%q", name)
	}
	return strings.Join(quoted, ", ")
}
