package explain

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/agnivade/levenshtein"
)

// AmbiguousError is the error of a word that means several things.
type AmbiguousError struct {
	Word string
	// Names are the names that mean one thing each.
	Names []string
}

func (e *AmbiguousError) Error() string {
	return fmt.Sprintf("%q is the name of several things; name one:\n  %s", e.Word, strings.Join(e.Names, "\n  "))
}

// UnknownError is the error of a word that means nothing.
type UnknownError struct {
	Word string
	// Near are names that are written alike.
	Near []string
}

func (e *UnknownError) Error() string {
	text := fmt.Sprintf("there is no setting, resource, field or condition %q", e.Word)
	if len(e.Near) > 0 {
		return text + "; did you mean:\n  " + strings.Join(e.Near, "\n  ")
	}
	return text + "; `spanctl explain` lists them"
}

// Find returns what a word means. A setting or field is found by its path, with or without "[]" and
// the numbers of items, or by the end of its path; a resource by any of its names. Upper and lower
// case do not matter. If a word is the whole name of one thing and the end of the names of others,
// it means the former, and also has the latter.
func (i *Index) Find(word string) (t *Topic, also []string, err error) {
	path := normal(word)
	if path == "" {
		if strings.TrimSpace(word) == "" {
			return i.Config, nil, nil
		}
		return nil, nil, &UnknownError{Word: word}
	}
	var whole, ends []*Topic
	i.each(func(t *Topic, names []string) {
		switch {
		case slices.Contains(names, path):
			whole = append(whole, t)
		case t.Kind != KindTalos && strings.HasSuffix(names[0], "."+path):
			ends = append(ends, t)
		}
	})
	found := whole
	if len(whole) == 0 {
		found = ends
	}
	switch len(found) {
	case 0:
		return nil, nil, &UnknownError{word, i.near(path)}
	case 1:
		if len(whole) == 1 {
			also = namesOf(ends)
		}
		return found[0], also, nil
	default:
		return nil, nil, &AmbiguousError{word, namesOf(found)}
	}
}

func namesOf(topics []*Topic) (names []string) {
	for _, t := range topics {
		names = append(names, t.Name)
	}
	return names
}

// each calls f for all topics but the whole config, with the names that find them, in the form of
// normal. The first is that of Topic.Name.
func (i *Index) each(f func(t *Topic, names []string)) {
	var walk func(t *Topic, aliases []string)
	walk = func(t *Topic, aliases []string) {
		if t.Name != "" {
			f(t, append([]string{normal(t.Name)}, aliases...))
		}
		for _, b := range t.Below {
			var below []string
			for _, a := range append(aliases, lowered(t.Aliases)...) {
				below = append(below, a+"."+normal(b.LastName()))
			}
			walk(b, append(below, lowered(b.Aliases)...))
		}
	}
	walk(i.Config, nil)
	for _, list := range [][]*Topic{i.Resources, i.Conditions, i.Events, i.Documents} {
		for _, t := range list {
			walk(t, lowered(t.Aliases))
		}
	}
}

func lowered(names []string) (out []string) {
	for _, n := range names {
		out = append(out, strings.ToLower(n))
	}
	return out
}

// normal returns a path in lower case, without "[]", the numbers of items and empty parts.
func normal(path string) string {
	var parts []string
	for part := range strings.FieldsFuncSeq(path, func(r rune) bool { return r == '.' || r == '[' || r == ']' || unicode.IsSpace(r) }) {
		if _, err := strconv.Atoi(part); err != nil && part != "*" {
			parts = append(parts, strings.ToLower(part))
		}
	}
	return strings.Join(parts, ".")
}

const (
	// maxNear is how many names are suggested.
	maxNear = 5
	// maxPath is the length of the longest path that is compared with names, in bytes.
	maxPath = 256
	// minPart is the length of the shortest part of a name that suggests it.
	minPart = 3
)

// near returns the names that are nearest to a path, the nearest first, or else those that contain
// it. Those of Talos are settings by the same name.
func (i *Index) near(path string) (names []string) {
	if len(path) > maxPath {
		return nil
	}
	type candidate struct {
		name     string
		distance int
	}
	var all []candidate
	last := path[strings.LastIndex(path, ".")+1:]
	limit := max(len(last)/3, 1) + 1
	i.each(func(t *Topic, known []string) {
		nearest := limit + 1
		for _, name := range known {
			nearest = min(nearest, levenshtein.ComputeDistance(path, name), levenshtein.ComputeDistance(last, name[strings.LastIndex(name, ".")+1:])+depth(path, name))
		}
		if nearest <= limit && t.Kind != KindTalos {
			all = append(all, candidate{t.Name, nearest})
		}
	})
	slices.SortStableFunc(all, func(a, b candidate) int { return a.distance - b.distance })
	for _, c := range all[:min(len(all), maxNear)] {
		names = append(names, c.name)
	}
	if len(names) > 0 || len(path) < minPart {
		return names
	}
	i.each(func(t *Topic, known []string) {
		if t.Kind != KindTalos && strings.Contains(known[0], path) {
			names = append(names, t.Name)
		}
	})
	slices.SortStableFunc(names, func(a, b string) int { return strings.Count(a, ".") - strings.Count(b, ".") })
	return names[:min(len(names), maxNear)]
}

// depth returns 1 if a path of several parts has another parent than a name.
func depth(path, name string) int {
	at, its := strings.LastIndex(path, "."), strings.LastIndex(name, ".")
	if at < 0 || its >= 0 && strings.HasSuffix(name[:its], path[:at]) {
		return 0
	}
	return 1
}
