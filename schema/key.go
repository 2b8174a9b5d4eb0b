package schema

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// KeyLength is the length of a cluster ID, a cluster secret and a WireGuard key, in bytes.
const KeyLength = 32

// urlToStd maps the URL-safe base64 alphabet to the standard one (RFC 4648, sections 4 and 5).
// Generators of cluster IDs use either.
var urlToStd = strings.NewReplacer("-", "+", "_", "/")

// ParseKey decodes the base64 of 32 bytes, in either alphabet. Its errors do not quote text.
func ParseKey(text string) (key [KeyLength]byte, err error) {
	raw, err := base64.StdEncoding.DecodeString(urlToStd.Replace(text))
	if err != nil || strings.ContainsAny(text, "\r\n") {
		return key, errors.New("is not base64")
	}
	if len(raw) != KeyLength {
		return key, fmt.Errorf("decodes to %d bytes, not %d", len(raw), KeyLength)
	}
	return [KeyLength]byte(raw), nil
}
