package terminal

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Plain returns text on one line, with what controls a terminal escaped, as \x1b.
func Plain(text string) string { return escape(text, IsUnsafe, escapeText) }

// PlainLines is Plain for text of several lines: line feeds and tabs stay.
func PlainLines(text string) string { return escape(text, IsUnsafeInLines, escapeText) }

// PlainJSON escapes the strings of a JSON or YAML document, which stays the same document.
// YAML must have what is unsafe in double quotes.
func PlainJSON(document string) string { return escape(document, IsUnsafeInLines, escapeJSON) }

// escape replaces the unsafe runes of text, and bytes that are not UTF-8: a terminal may take
// those for control characters, too.
func escape(text string, unsafe func(rune) bool, show func(rune) string) string {
	if utf8.ValidString(text) && !strings.ContainsFunc(text, unsafe) {
		return text
	}
	var b strings.Builder
	for len(text) > 0 {
		r, size := utf8.DecodeRuneInString(text)
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, text[0])
		case unsafe(r):
			b.WriteString(show(r))
		default:
			b.WriteString(text[:size])
		}
		text = text[size:]
	}
	return b.String()
}

// escapeText escapes a rune as Go does.
func escapeText(r rune) string {
	switch {
	case r == '\n':
		return `\n`
	case r == '\t':
		return `\t`
	case r == '\r':
		return `\r`
	case r == '\a':
		return `\a`
	case r < utf8.RuneSelf:
		return fmt.Sprintf(`\x%02x`, r)
	default:
		return escapeJSON(r)
	}
}

// escapeJSON escapes a rune of the basic plane as JSON and YAML do.
func escapeJSON(r rune) string { return fmt.Sprintf(`\u%04x`, r) }

// IsUnsafe reports whether r controls a terminal, or the direction of the text around it
// (UAX #9), or is no character of a YAML document.
func IsUnsafe(r rune) bool {
	switch {
	case unicode.IsControl(r), unicode.Is(unicode.Bidi_Control, r):
		return true
	case r >= '\u206a' && r <= '\u206f': // deprecated controls of shaping and of mirrored characters
		return true
	default:
		return r == '\u2028' || r == '\u2029' || r == '\ufeff' || r == '\ufffe' || r == '\uffff'
	}
}

// IsUnsafeInLines is IsUnsafe for text of several lines.
func IsUnsafeInLines(r rune) bool { return r != '\n' && r != '\t' && IsUnsafe(r) }
