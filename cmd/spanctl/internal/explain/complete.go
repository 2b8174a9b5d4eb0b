package explain

import "strings"

// Completion is a word that completes what was typed.
type Completion struct {
	Word, Summary string
	// HasBelow is set where the word ends with a dot, and more follows.
	HasBelow bool
}

// Complete returns the names that begin with prefix, as far as the next dot: a path is typed part by
// part.
func (i *Index) Complete(prefix string) (list []Completion) {
	known := map[string]bool{}
	i.each(func(t *Topic, _ []string) {
		word := strings.ReplaceAll(t.Name, "[]", "")
		if len(word) < len(prefix) || !strings.EqualFold(word[:len(prefix)], prefix) {
			return
		}
		c := Completion{Word: word, Summary: t.Summary()}
		if next := strings.Index(word[len(prefix):], "."); next >= 0 {
			c = Completion{Word: word[:len(prefix)+next+1], HasBelow: true}
		}
		if !known[c.Word] {
			known[c.Word] = true
			list = append(list, c)
		}
	})
	return list
}
