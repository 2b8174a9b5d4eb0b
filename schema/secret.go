package schema

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
)

// Hidden replaces the text of a secret wherever something is printed.
const Hidden = "(hidden)"

// Secret is the text of a secret, or the place outside of the config that has it. It prints as
// "(hidden)" through fmt, slog and encoding/json. Secrets are compared with ==.
type Secret struct {
	text string
	from SecretSource
}

// SecretSource is a place outside of the config that has a secret. One field is set. All are
// empty if the config has the secret itself.
type SecretSource struct {
	// File is the absolute path of a file.
	File string `json:"file,omitempty"`
	// Env is the name of an environment variable.
	Env string `json:"env,omitempty"`
	// Credential is the name of a systemd credential (systemd.exec(5), LoadCredential=).
	Credential string `json:"credential,omitempty"`
}

// String returns the kind of the place and its name.
func (s SecretSource) String() string {
	switch {
	case s.File != "":
		return "file " + s.File
	case s.Env != "":
		return "environment variable " + s.Env
	default:
		return "credential " + s.Credential
	}
}

// SecretText returns a secret with a text.
func SecretText(text string) Secret { return Secret{text: text} }

// SecretIn returns a secret that was not read from its source.
func SecretIn(from SecretSource) Secret { return Secret{from: from} }

// WithText returns the secret with the text that was read from its source.
func (s Secret) WithText(text string) Secret { return Secret{text: text, from: s.from} }

// Reveal returns the text of the secret. It is empty before the source of the secret was read.
func (s Secret) Reveal() string { return s.text }

// IsZero reports whether the secret has neither a text nor a source.
func (s Secret) IsZero() bool { return s == Secret{} }

// From returns the place outside of the config that has the secret. It is the zero value if the
// config has the secret itself.
func (s Secret) From() SecretSource { return s.from }

var (
	_ json.Unmarshaler = (*Secret)(nil)
	_ json.Marshaler   = Secret{}
)

// UnmarshalJSON reads a text or a SecretSource.
func (s *Secret) UnmarshalJSON(data []byte) error {
	*s = Secret{}
	if len(data) > 0 && data[0] == '{' {
		return json.Unmarshal(data, &s.from)
	}
	return json.Unmarshal(data, &s.text)
}

// MarshalJSON writes the source of the secret, or "(hidden)" if the config has the secret itself.
func (s Secret) MarshalJSON() ([]byte, error) {
	if s.from != (SecretSource{}) {
		return json.Marshal(s.from)
	}
	return json.Marshal(s.String())
}

// Format prints "(hidden)" for every verb. Without it, %x would print the text.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// String returns "(hidden)", or "" for the zero value.
func (s Secret) String() string {
	if s.IsZero() {
		return ""
	}
	return Hidden
}

// LogValue implements slog.LogValuer.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// Key decodes the 32 bytes that the secret stands for, in either base64 alphabet. It fails for a
// secret that was not read from its source. Loading refuses other secrets for which it fails.
func (s Secret) Key() ([KeyLength]byte, error) {
	if s.text == "" && s.from != (SecretSource{}) {
		return [KeyLength]byte{}, errors.New("was not read from its " + s.from.String())
	}
	return ParseKey(s.text)
}

// revealed returns the secret as a config has it.
func (s Secret) revealed() any {
	if s.from != (SecretSource{}) {
		return s.from
	}
	return s.text
}
