package files

import (
	"strings"
	"unicode"

	"github.com/spanmesh/span/schema"
	"github.com/spanmesh/span/schema/internal/field"
)

// piece is a name or a value in the text of a file.
type piece struct {
	// line counts from 1, from and to are bytes in that line, from 0.
	line, from, to int
	// text is the value, without quotes.
	text string
	// show allows the piece to be printed.
	show bool
	// secret is set for a value of a field with @secret, literal for one that is not the name of another.
	secret, literal bool
}

// scan is the result of scanning a file.
type scan struct {
	pieces []piece
	// parsed is false for a file with a syntax error, which has no pieces.
	parsed bool
}

// scan returns the pieces of a file.
func (s *Set) scan(name string) scan {
	if known, ok := s.scans[name]; ok {
		return known
	}
	var found scan
	if schema.FormatOf(name) == schema.FormatYAML {
		found.pieces, found.parsed = scanYAML(s.text(name))
	} else {
		found.pieces, found.parsed = scanCUE(s.text(name))
	}
	s.scans[name] = found
	return found
}

// longName is the length from which a name could be a key without quotes, in bytes.
const longName = 32

// longWord is the length from which a word could be a password, in bytes.
const longWord = 12

// ShowsName reports whether the name of a field may be printed. Names of the schema may, and other
// names that are short and have no special characters. Below a field with @secret, a name that is
// not a short plain word may be the secret.
func ShowsName(chain []string, name string) bool {
	if field.IsName(name) {
		return true
	}
	special := strings.ContainsFunc(name, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("_-.$#", r)
	})
	plain := !strings.ContainsFunc(name, func(r rune) bool { return r < 'a' || r > 'z' })
	return len(name) < longName && !special && (plain && len(name) < longWord || !isSecret(chain))
}

// IsKey reports whether a text is a key of 32 bytes.
func IsKey(text string) bool {
	_, err := schema.ParseKey(text)
	return err == nil
}

// isSecret reports whether a chain of labels leads to a field with @secret, or to a field below one
// that the schema does not have.
func isSecret(chain []string) bool {
	if field.ShowsBelow(chain) {
		return false
	}
	for end := len(chain); end > 0; end-- {
		if field.EndsAtSecret(chain[:end]) {
			return true
		}
	}
	return false
}
