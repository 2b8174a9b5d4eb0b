package files

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"

	cueerrors "cuelang.org/go/cue/errors"
	"go.yaml.in/yaml/v3"

	"github.com/spanmesh/span/schema"
	"github.com/spanmesh/span/schema/internal/field"
)

// TagReason and TagWant are the problem of a text in YAML that begins with "!" and is not in quotes,
// such as a filter that excludes a network. YAML takes it for a tag (YAML 1.2.2, section 6.8.1).
const (
	TagReason = "begins with \"!\", which YAML takes for a tag and not for a text"
	TagWant   = "it in quotes, such as \"!192.168.0.0/16\""
)

// Syntax returns the problems of a source that could not be parsed.
func (s *Set) Syntax(one schema.Source, err error) schema.Problems {
	var problems schema.Problems
	if errors.As(err, &problems) {
		for i := range problems {
			s.quote(&problems[i], one.Name)
		}
		return problems
	}
	for _, e := range cueerrors.Errors(cueerrors.Promote(err, "")) {
		p := schema.Problem{File: one.Name, Reason: s.Message(one.Name, e)}
		if inner := errors.Unwrap(e); p.Reason == "" && inner != nil {
			p.Reason = s.plain(one.Name, inner.Error())
		}
		pos := UsersFirst(cueerrors.Positions(e))
		s.explainImport(&p, e, pos)
		s.At(&p, pos)
		if one.Data != nil && (p.Line == 0 || schema.FormatOf(one.Name) == schema.FormatJSON) {
			s.locate(&p, one.Data, err)
			s.quote(&p, one.Name)
		}
		if !slices.Contains(problems, p) {
			problems = append(problems, p)
		}
	}
	problems.Sort()
	return problems
}

// Message returns the message of e, without values that may not be shown, its path and its
// positions. Name is the file with the error if e has no position.
func (s *Set) Message(name string, e cueerrors.Error) string {
	if pos := UsersFirst(cueerrors.Positions(e)); pos.IsValid() {
		name = pos.Filename()
	}
	format, args := e.Msg()
	text := s.text(name)
	if text == nil || s.scan(name).parsed {
		message := s.Hide(fmt.Sprintf(format, args...))
		if strings.HasPrefix(format, "reference ") || strings.HasPrefix(format, "imported ") {
			return message // it has names, and no values
		}
		return s.withoutComputed(message)
	}
	// The parser quotes what it found: a name of the schema, or what may be a secret.
	args = slices.Clone(args)
	for i, arg := range args {
		found, isText := arg.(string)
		if isText && strings.ContainsFunc(found, isWord) && !field.IsName(found) && bytes.Contains(text, []byte(found)) {
			args[i] = schema.Hidden
		}
	}
	return s.Hide(fmt.Sprintf(format, args...))
}

func isWord(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }

// plain returns a message without the values that may not be shown.
func (s *Set) plain(name, message string) string {
	if s.scan(name).parsed {
		return s.Hide(message)
	}
	return s.Hide(withoutQuotes(message))
}

// withoutQuotes replaces what a message has in quotes, unless it is a single character or a name
// of the schema.
func withoutQuotes(message string) string {
	var b strings.Builder
	for {
		from := strings.IndexAny(message, "'\"`")
		if from < 0 {
			break
		}
		quote := message[from : from+1]
		to := strings.LastIndex(message[from+1:], quote)
		if to < 0 {
			break
		}
		inner := message[from+1 : from+1+to]
		if len([]rune(inner)) > 1 && !field.IsName(inner) {
			inner = schema.Hidden
		}
		b.WriteString(message[:from] + quote + inner + quote)
		message = message[from+1+to+1:]
	}
	return b.String() + message
}

// locate sets the position of a syntax error, for parsers that have it in their messages only.
func (s *Set) locate(p *schema.Problem, data []byte, err error) {
	if schema.FormatOf(p.File) == schema.FormatJSON {
		var syntax *json.SyntaxError
		if errors.As(json.Unmarshal(data, new(any)), &syntax) {
			before := data[:min(max(int(syntax.Offset)-1, 0), len(data))]
			p.Line = bytes.Count(before, []byte("\n")) + 1
			p.Column = len(before) - bytes.LastIndexByte(before, '\n')
			p.Reason = syntax.Error() // quotes a single character
		}
		return
	}
	p.Column = 1
	line, message := cutLine(strings.TrimPrefix(err.Error(), p.File+":"))
	p.Line, p.Reason = max(line, 1), s.plain(p.File, message)
	if strings.HasPrefix(message, "cannot unmarshal tag ") {
		p.Reason, p.Want = TagReason, TagWant
	}
	if lines := strings.Split(string(data), "\n"); p.Line >= 1 && p.Line <= len(lines) {
		line := lines[p.Line-1]
		p.Column = len(line) - len(strings.TrimLeft(line, " \t")) + 1
	}
}

// cutLine cuts the number of a line from the beginning of a message. It is 0 if there is none.
func cutLine(message string) (line int, rest string) {
	if number, rest, found := strings.Cut(message, ":"); found {
		if line, err := strconv.Atoi(number); err == nil {
			return line, strings.TrimSpace(rest)
		}
	}
	return 0, strings.TrimSpace(message)
}

// YAMLError returns the line and the message of an error of the YAML parser, without what it
// quotes. The line is 0 if it is not known.
func YAMLError(err error) (line int, message string) {
	message = strings.TrimPrefix(err.Error(), "yaml: ")
	var kinds *yaml.TypeError
	if errors.As(err, &kinds) && len(kinds.Errors) > 0 {
		message = kinds.Errors[0]
	}
	if number, found := strings.CutPrefix(message, "line "); found {
		line, message = cutLine(number)
	}
	return line, withoutQuotes(message)
}
