package support

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"strings"
)

// minSecret is the length of the shortest text that is taken for a known secret: shorter ones would
// be found everywhere.
const minSecret = 6

// encodings returns a secret in all forms in which a text may have it, and the bytes of which it is
// the base64 or the hexadecimal digits, too.
func encodings(secret string) (forms []string) {
	secret = strings.TrimSpace(secret)
	if len(secret) < minSecret {
		return nil
	}
	raws := []string{secret}
	for _, decode := range []func(string) ([]byte, error){base64.StdEncoding.DecodeString, base64.RawStdEncoding.DecodeString,
		base64.URLEncoding.DecodeString, base64.RawURLEncoding.DecodeString, hex.DecodeString} {
		if raw, err := decode(secret); err == nil && len(raw) >= 16 {
			raws = append(raws, string(raw))
		}
	}
	for _, raw := range raws {
		forms = append(forms, raw, url.QueryEscape(raw), url.PathEscape(raw), hex.EncodeToString([]byte(raw)), strings.ToUpper(hex.EncodeToString([]byte(raw))))
		if quoted, err := json.Marshal(raw); err == nil {
			forms = append(forms, string(quoted[1:len(quoted)-1]))
		}
		for _, encoding := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
			forms = append(forms, encoding.EncodeToString([]byte(raw)))
			for shift := range 3 {
				forms = append(forms, inside(encoding, raw, shift))
			}
		}
	}
	return forms
}

// inside returns the characters that the base64 of a longer text has where raw begins at a byte
// whose number leaves shift when divided by three. Characters that the text around it changes are
// left out.
func inside(encoding *base64.Encoding, raw string, shift int) string {
	padded := strings.Repeat("\x00", shift) + raw
	text := encoding.WithPadding(base64.NoPadding).EncodeToString([]byte(padded))
	if len(padded)%3 != 0 {
		text = text[:len(text)-1]
	}
	if shift > 0 {
		text = text[shift+1:]
	}
	return text
}
