package resource

import (
	"fmt"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
)

// NotFoundError is the error of a word that no resource has as its ID or name.
type NotFoundError struct {
	Type *Type
	Word string
	// Near is the ID or name that is written most alike; empty if none is.
	Near string
}

func (e *NotFoundError) Error() string {
	text := fmt.Sprintf("%s %q not found", e.Type.Aliases[0], e.Word)
	if e.Near != "" {
		return fmt.Sprintf("%s; did you mean %q?", text, e.Near)
	}
	return text + "; `spanctl get " + e.Type.Aliases[0] + "` lists what there is"
}

// AmbiguousError is the error of a word that is the name of several resources.
type AmbiguousError struct {
	Type *Type
	Word string
	IDs  []string
}

func (e *AmbiguousError) Error() string {
	return fmt.Sprintf("%d %s are called %q; name one by its ID:\n  %s", len(e.IDs), e.Type.Aliases[0], e.Word, strings.Join(e.IDs, "\n  "))
}

// Find returns the resource of a type that a word means: the one with this ID, or else the only one
// with this name, in upper or lower case. Its error is a *NotFoundError or an *AmbiguousError.
func Find(t *Type, list []Resource, word string) (Resource, error) {
	var found []Resource
	for _, r := range list {
		if r.ID == word {
			return r, nil
		}
		if t.Means(r, word) {
			found = append(found, r)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return Resource{}, &NotFoundError{Type: t, Word: word, Near: nearest(word, words(t, list))}
	}
	ids := make([]string, len(found))
	for i, r := range found {
		ids[i] = r.ID
	}
	return Resource{}, &AmbiguousError{Type: t, Word: word, IDs: ids}
}

// Means reports whether a word is the ID of a resource, or one of its names.
func (t *Type) Means(r Resource, word string) bool {
	return r.ID == word || slices.ContainsFunc(t.namesOf(r), func(name string) bool { return strings.EqualFold(name, word) })
}

// namesOf returns the names of a resource, the usual one first.
func (t *Type) namesOf(r Resource) (names []string) {
	if t.names == nil {
		return nil
	}
	for _, name := range t.names(r.Spec) {
		if name != "" {
			names = append(names, name)
		}
	}
	return names
}

// Names returns a name of each resource by which Find finds it, by ID. A resource without a name, or
// with that of another, has none.
func Names(t *Type, list []Resource) map[string]string {
	owners := map[string]int{}
	for _, r := range list {
		for _, word := range distinct(append(t.namesOf(r), r.ID)) {
			owners[strings.ToLower(word)]++
		}
	}
	names := make(map[string]string, len(list))
	for _, r := range list {
		for _, name := range t.namesOf(r) {
			if owners[strings.ToLower(name)] == 1 {
				names[r.ID] = name
				break
			}
		}
	}
	return names
}

// distinct returns the words that differ in more than their case.
func distinct(words []string) (out []string) {
	for _, w := range words {
		if !slices.ContainsFunc(out, func(other string) bool { return strings.EqualFold(w, other) }) {
			out = append(out, w)
		}
	}
	return out
}

// words returns all that finds a resource.
func words(t *Type, list []Resource) (words []string) {
	for _, r := range list {
		words = append(append(words, t.namesOf(r)...), r.ID)
	}
	return words
}

// maxTypos is how many typing errors a word may have that is still taken for another.
const maxTypos = 2

// nearest returns the word of a list that differs least from another, or "" if none is alike.
func nearest(word string, list []string) string {
	best, least := "", maxTypos+1
	for _, other := range list {
		d := levenshtein.ComputeDistance(strings.ToLower(word), strings.ToLower(other))
		if d < least && d < len(other) && d < len(word) {
			best, least = other, d
		}
	}
	return best
}
