package files

import (
	"slices"
	"strconv"
	"strings"

	"github.com/spanmesh/span/schema"
)

// Secrets and other texts are replaced from these lengths on, in bytes. A shorter text would be
// part of many words.
const (
	minSecret = 4
	minOther  = 8
)

// AddSecret adds a text that Conceal and Hide replace.
func (s *Set) AddSecret(text string) { s.secrets = addText(s.secrets, text, minSecret) }

// addText adds a text, each of its lines, and its form in quotes.
func addText(list []string, text string, least int) []string {
	quoted := strconv.Quote(text)
	for _, one := range append(strings.Split(text, "\n"), text, quoted[1:len(quoted)-1]) {
		if one = strings.TrimSpace(one); len(one) >= least && !slices.Contains(list, one) {
			list = append(list, one)
		}
	}
	return list
}

// Conceal returns a text without the secrets of the files, and without passwords, queries and
// fragments in URLs.
func (s *Set) Conceal(text string) string {
	s.scanAll()
	return schema.HideInURLs(replace(text, s.secrets))
}

// Hide returns a message of a parser or of CUE without the values that may not be shown: secrets,
// what [schema.HideInURLs] hides, and values of fields that the schema does not have.
func (s *Set) Hide(message string) string {
	s.scanAll()
	return replace(schema.HideInURLs(replace(message, s.secrets)), s.others)
}

func replace(text string, list []string) string {
	for _, one := range list {
		text = strings.ReplaceAll(text, one, schema.Hidden)
	}
	return text
}

// scanAll collects the texts to be replaced, the longest first.
func (s *Set) scanAll() {
	if s.scanned {
		return
	}
	s.scanned = true
	for name := range s.texts {
		for _, p := range s.scan(name).pieces {
			switch {
			case p.secret:
				s.secrets = addText(s.secrets, p.text, minSecret)
			case !p.show:
				s.others = addText(s.others, p.text, minOther)
			}
		}
	}
	for _, list := range [][]string{s.secrets, s.others} {
		slices.SortFunc(list, func(a, b string) int { return len(b) - len(a) })
	}
}
