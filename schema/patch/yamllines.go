package patch

import (
	"strings"

	"go.yaml.in/yaml/v3"
)

// removeLines removes the lines of the fields of a mapping.
func (e *yamlEditor) removeLines(spans []span, removed []bool) bool {
	first := 0
	if len(spans) > 0 && !e.opensLine(spans[0].from) {
		// The first field is beside the dash of an element: the first that stays takes its
		// place.
		for first < len(removed) && removed[first] {
			first++
		}
		if first == len(removed) {
			return false
		}
		if first > 0 {
			e.splices = append(e.splices, splice{from: spans[0].from, to: spans[first].from})
		}
	}
	for i := first; i < len(spans); i++ {
		if !removed[i] {
			continue
		}
		if !e.cutLines(spans[i]) {
			return false
		}
	}
	return true
}

// cutLines removes whole lines. It reports false if the first has something else before.
func (e *yamlEditor) cutLines(s span) bool {
	if !e.opensLine(s.from) {
		return false
	}
	e.splices = append(e.splices, splice{from: e.starts[e.line(s.from)], to: e.next(s.to)})
	return true
}

// replaceValue gives a field another value.
func (e *yamlEditor) replaceValue(one entry, value any) bool {
	old, column := one.value, e.column(one.in)
	at, ok := e.extent(old, column)
	switch {
	case !ok:
		return false
	case isFlow(one.in), !isBlockCollection(old) && (isEmpty(value) || isFlow(old)):
		return e.replaceInline(one, at, value)
	case isBlockCollection(old):
		return e.replaceLines(one, at, value, column)
	}
	colon, ok := e.colon(one)
	if ok {
		e.splices = append(e.splices, splice{from: colon, to: at.to}, e.insertion(at.to, e.block(value, column)))
	}
	return ok
}

// extent returns where a value is, without an anchor that can stay.
func (t *text) extent(old *yaml.Node, column int) (s span, ok bool) {
	if s.from, ok = t.start(old); !ok {
		return s, false
	}
	if s.to, ok = t.end(old, column); !ok {
		return s, false
	}
	if content, _ := t.content(old); old.Anchor != "" && old.Style&yaml.TaggedStyle == 0 && !isBlockCollection(old) {
		s.from = content
	}
	return s, true
}

// replaceInline replaces a value on the line of its field by another.
func (e *yamlEditor) replaceInline(one entry, at span, value any) bool {
	text := e.flow(value, one.value.Style)
	switch {
	case e.multi:
		text = e.lines(value, e.indentOf(at.from))
	case !isFlow(one.in) && isEmpty(value):
		text = e.blockScalar(value, one.value.Style)
	}
	if at.from == at.to {
		return e.insertInline(one, text)
	}
	e.splices = append(e.splices, splice{at.from, at.to, text})
	return true
}

// replaceLines replaces a value that has lines of its own.
func (e *yamlEditor) replaceLines(one entry, at span, value any, column int) bool {
	switch {
	case one.value.Anchor != "" || !e.opensLine(at.from):
		return false
	case isEmpty(value):
		return e.insertInline(one, e.blockScalar(value, 0)) && e.cutLines(at)
	default:
		e.splices = append(e.splices, splice{e.starts[e.line(at.from)], e.next(at.to), e.block(value, column)})
		return true
	}
}

// indentOf returns the white space that the line of a place begins with.
func (t *text) indentOf(at int) string {
	lead := t.lead(at)
	return lead[:len(lead)-len(strings.TrimLeft(lead, " \t"))]
}

// colon returns the place after the colon of a field.
func (e *yamlEditor) colon(one entry) (int, bool) {
	at, ok := e.end(one.key, 0)
	if !ok {
		return 0, false
	}
	if at = e.skip(at, " \t"); !e.has(at, ":") {
		return 0, false
	}
	return at + 1, true
}

// insertInline puts a text after the colon of a field.
func (e *yamlEditor) insertInline(one entry, text string) bool {
	colon, ok := e.colon(one)
	if ok {
		e.splices = append(e.splices, splice{colon, colon, " " + text})
	}
	return ok
}

// sequence changes the elements of a list.
func (e *yamlEditor) sequence(n *yaml.Node, before, after []any) bool {
	spans, ok := e.spans(n)
	if !ok || len(spans) != len(before) {
		return false
	}
	removed, added, ok := alignment(before, after, func(i int, from, to map[string]any) bool {
		return n.Content[i].Kind == yaml.MappingNode && e.mapping([]*yaml.Node{n.Content[i]}, from, to)
	})
	switch at, found := e.content(n); {
	case !ok || !found:
		return false
	case isFlow(n):
		e.edit(at, spans, removed, added)
		return true
	default:
		return e.items(n, spans, removed, added)
	}
}

// items removes and adds lines of a list.
func (e *yamlEditor) items(n *yaml.Node, spans []span, removed []bool, added []element) bool {
	column := e.column(n)
	for i := range spans {
		dash, ok := e.dash(spans[i].from, column)
		if !ok {
			return false
		}
		spans[i].from = dash
		if removed[i] && !e.cutLines(spans[i]) {
			return false
		}
	}
	for _, one := range added {
		lines := e.item(one.value, column)
		if one.after >= 0 {
			e.splices = append(e.splices, e.insertion(spans[one.after].to, lines))
			continue
		}
		if !e.opensLine(spans[0].from) {
			return false
		}
		place := e.starts[e.line(spans[0].from)]
		e.splices = append(e.splices, splice{place, place, lines})
	}
	return true
}

// dash returns where the dash before an element is, which is on a line above if nothing but white
// space is between.
func (e *yamlEditor) dash(at, column int) (int, bool) {
	for line := e.line(at); line >= 0; line-- {
		place, ok := e.at(line+1, column+1)
		if ok && place < at && e.has(place, "-") && strings.Trim(string(e.data[place+1:at]), " -\t\r\n") == "" {
			return place, true
		}
		if strings.Trim(e.rest(e.starts[line]), " \t") != "" && line < e.line(at) {
			break
		}
	}
	return 0, false
}
