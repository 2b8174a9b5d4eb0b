package patch

import "strings"

// brackets edits what is in brackets, with commas between.
type brackets struct {
	*text
	splices []splice
	// comment begins a comment.
	comment string
	// noTrailing is set where no comma may be after the last element.
	noTrailing bool
	// multi is set where elements of brackets that are empty get lines of their own, with another
	// tab.
	multi bool
	tab   string
	// render returns the text of an element, on lines of its own or not.
	render func(one element, own bool, indent string) string
}

// element is a new field of a mapping or a new element of a list.
type element struct {
	// after is the old element that it follows; -1 for none.
	after int
	name  string
	// named is set for a field.
	named bool
	value any
}

// edit removes elements of brackets that open at a place, and adds others.
func (e *brackets) edit(at int, spans []span, removed []bool, added []element) {
	if len(spans) == 0 {
		e.fill(at, added)
		return
	}
	last := -1 // of those that stay
	for i := range spans {
		if !removed[i] {
			last = i
		}
	}
	if last < 0 {
		e.refill(spans, added)
		return
	}
	if own := e.ownLine(spans); own && !e.noTrailing {
		e.cutElements(spans, removed, last)
	} else {
		e.cutBetween(spans, removed, last)
	}
	e.add(spans, removed, added)
}

// cutBetween removes elements with the commas beside them. The one at a place is the last that stays.
func (e *brackets) cutBetween(spans []span, removed []bool, last int) {
	for i := range last {
		if removed[i] {
			e.splices = append(e.splices, splice{from: spans[i].from, to: spans[i+1].from})
		}
	}
	if last < len(spans)-1 {
		e.splices = append(e.splices, splice{from: spans[last].to, to: spans[len(spans)-1].to})
	}
}

// add puts elements beside those that stay, of which there is one or more.
func (e *brackets) add(spans []span, removed []bool, added []element) {
	first := 0
	for removed[first] {
		first++
	}
	own, indent, separator := e.ownLine(spans), e.indentOf(spans[first].from), ", "
	if own {
		separator = "," + e.lineBreak + indent
	}
	var front []string
	behind := map[int][]string{}
	for _, one := range added {
		at := one.after
		for at >= 0 && removed[at] {
			at--
		}
		text := e.render(one, own, indent)
		if at < 0 {
			front = append(front, text)
		} else {
			behind[at] = append(behind[at], text)
		}
	}
	if len(front) > 0 {
		e.splices = append(e.splices, splice{spans[first].from, spans[first].from, strings.Join(front, separator) + separator})
	}
	for at, texts := range behind {
		e.follow(spans[at].to, texts, separator)
	}
}

// cutElements removes elements that each begin a line, with their lines but not with the comments
// between. The one at a place is the last that stays; it has a comma as the last one had.
func (e *brackets) cutElements(spans []span, removed []bool, last int) {
	for i, s := range spans {
		if !removed[i] {
			continue
		}
		end := e.skip(s.to, " \t,")
		if rest := e.rest(end); rest != "" && !strings.HasPrefix(rest, e.comment) {
			// What closes the list is on the line.
			e.splices = append(e.splices, splice{from: s.from, to: end})
			continue
		}
		e.splices = append(e.splices, splice{from: e.starts[e.line(s.from)], to: e.next(s.to)})
	}
	behind := e.skip(spans[len(spans)-1].to, " \t\r\n")
	if comma := e.skip(spans[last].to, " \t\r\n"); last < len(spans)-1 && !e.has(behind, ",") && e.has(comma, ",") {
		e.splices = append(e.splices, splice{from: comma, to: comma + 1})
	}
}

// ownLine reports whether each element begins a line.
func (t *text) ownLine(spans []span) bool {
	for _, s := range spans {
		if !t.opensLine(s.from) {
			return false
		}
	}
	return true
}

// follow puts elements after the one that ends at a place. A comment behind that stays there.
func (e *brackets) follow(at int, texts []string, separator string) {
	rest := e.rest(at)
	code, comma := strings.CutPrefix(strings.TrimLeft(rest, " \t"), ",")
	code = strings.TrimLeft(code, " \t")
	if !strings.HasPrefix(code, e.comment) || separator == ", " {
		e.splices = append(e.splices, splice{at, at, separator + strings.Join(texts, separator)})
		return
	}
	line := strings.TrimPrefix(separator, ",")
	end := at + len(rest)
	if !comma {
		e.splices = append(e.splices, splice{at, at, ","})
		e.splices = append(e.splices, splice{end, end, line + strings.Join(texts, separator)})
		return
	}
	e.splices = append(e.splices, splice{end, end, line + strings.Join(texts, separator) + ","})
}

// fill puts elements into empty brackets that begin at a place.
func (e *brackets) fill(at int, added []element) {
	texts := make([]string, len(added))
	indent := e.indentOf(at)
	for i, one := range added {
		texts[i] = e.render(one, e.multi, indent+e.tab)
	}
	if !e.multi {
		e.splices = append(e.splices, splice{at + 1, at + 1, strings.Join(texts, ", ")})
		return
	}
	// In place of the white space between.
	end := e.skip(at+1, " \t\r\n")
	inner := e.lineBreak + indent + e.tab
	e.splices = append(e.splices, splice{at + 1, end, inner + strings.Join(texts, ","+inner) + e.lineBreak + indent})
}

// refill puts elements in the place of all that there were.
func (e *brackets) refill(spans []span, added []element) {
	own, indent := e.ownLine(spans), e.indentOf(spans[0].from)
	separator := ", "
	if own {
		separator = "," + e.lineBreak + indent
	}
	texts := make([]string, len(added))
	for i, one := range added {
		texts[i] = e.render(one, own, indent)
	}
	e.splices = append(e.splices, splice{spans[0].from, spans[len(spans)-1].to, strings.Join(texts, separator)})
}

// elements changes a list of brackets that open at a place. Inner changes an element that stays.
func (e *brackets) elements(at int, spans []span, before, after []any, inner func(i int, from, to map[string]any) bool) bool {
	removed, added, ok := alignment(before, after, inner)
	if ok {
		e.edit(at, spans, removed, added)
	}
	return ok
}
