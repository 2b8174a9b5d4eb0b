package cli

import (
	"strconv"
	"strings"
	"unicode"
)

// plain returns text with control characters escaped, as \x1b. Other machines choose their
// labels: an escape sequence in one must not reach the terminal, nor begin another line.
func plain(text string) string {
	if !strings.ContainsFunc(text, isUnsafe) {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		if isUnsafe(r) {
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

// isUnsafe reports whether r controls a terminal, or the direction of the text around it
// (UAX #9).
func isUnsafe(r rune) bool {
	return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029'
}
