package schema

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"strings"
)

// ServiceURL is the URL of a discovery service. It may have a password, which prints as "xxxxx"
// through fmt, slog and encoding/json, as that of [url.URL.Redacted] does.
type ServiceURL string

var _ json.Marshaler = ServiceURL("")

// Reveal returns the URL with its password.
func (u ServiceURL) Reveal() string { return string(u) }

// String returns the URL without its password; "(hidden)" if it cannot be told from the rest.
func (u ServiceURL) String() string {
	parsed, err := url.Parse(string(u))
	switch {
	case err == nil:
		if _, has := parsed.User.Password(); has {
			return parsed.Redacted()
		}
		return string(u)
	case strings.Contains(string(u), "@"):
		return Hidden
	default:
		return string(u)
	}
}

// Format prints the URL without its password for every verb.
func (u ServiceURL) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, u.String()) }

// LogValue implements slog.LogValuer.
func (u ServiceURL) LogValue() slog.Value { return slog.StringValue(u.String()) }

// MarshalJSON writes the URL without its password.
func (u ServiceURL) MarshalJSON() ([]byte, error) { return json.Marshal(u.String()) }

func (u ServiceURL) revealed() any { return string(u) }
