package support

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// replacePhrase replaces a name where it is not a part of something longer, such as of an address. A
// name without letters and digits, which could be anywhere, is replaced where it is the whole text.
func (s *Scrubber) replacePhrase(text, phrase string) string {
	switch {
	case text == phrase:
		return s.placeholder("name", phrase)
	case !strings.ContainsFunc(phrase, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }):
		return text
	}
	var out strings.Builder
	rest := text
	for {
		i := strings.Index(rest, phrase)
		if i < 0 {
			out.WriteString(rest)
			return out.String()
		}
		end := i + len(phrase)
		before, _ := utf8.DecodeLastRuneInString(text[:len(text)-len(rest)+i])
		after, _ := utf8.DecodeRuneInString(rest[end:])
		if isPart(before) || isPart(after) {
			_, size := utf8.DecodeRuneInString(rest[i:])
			out.WriteString(rest[:i+size])
			rest = rest[i+size:]
			continue
		}
		out.WriteString(rest[:i])
		out.WriteString(s.placeholder("name", phrase))
		rest = rest[end:]
	}
}

// isPart reports whether a character beside a text makes it a part of a word or of an address.
func isPart(r rune) bool {
	return unicode.IsLetter(r) || unicode.IsDigit(r) || r == ':' || r == '_'
}
