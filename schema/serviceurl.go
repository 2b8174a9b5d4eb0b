package schema

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"regexp"
	"strings"
)

// ServiceURL is the URL of a discovery service. It may have a password, which prints as "xxxxx"
// through fmt, slog and encoding/json, as that of [url.URL.Redacted] does.
type ServiceURL string

var _ json.Marshaler = ServiceURL("")

// Reveal returns the URL with its password.
func (u ServiceURL) Reveal() string { return string(u) }

// String returns the URL without its password, and with "(hidden)" in place of a query and a fragment;
// "(hidden)" if they cannot be told from the rest.
func (u ServiceURL) String() string {
	parsed, err := url.Parse(string(u))
	switch {
	case err == nil:
		text := string(u)
		if _, has := parsed.User.Password(); has {
			text = parsed.Redacted()
		}
		return afterPath.ReplaceAllString(text, "$1$2"+Hidden)
	case strings.ContainsAny(string(u), "@?#"):
		return Hidden
	default:
		return string(u)
	}
}

// userinfo is the user and the password of a URL, which may be no valid one. The password may have
// any character but white space and quotes. afterPath is what follows the path of a URL.
var (
	userinfo  = regexp.MustCompile(`://[^\s"'@]*:[^\s"']*@`)
	afterPath = regexp.MustCompile(`(://[^\s"'?#]*)([?#])[^\s"']+`)
)

// HideInURLs returns a text with "(hidden)" in place of what may be secret in its URLs: users with
// passwords, queries and fragments.
func HideInURLs(text string) string {
	return afterPath.ReplaceAllString(userinfo.ReplaceAllString(text, "://"+Hidden+"@"), "$1$2"+Hidden)
}

// Format prints the URL without its password for every verb.
func (u ServiceURL) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, u.String()) }

// LogValue implements slog.LogValuer.
func (u ServiceURL) LogValue() slog.Value { return slog.StringValue(u.String()) }

// MarshalJSON writes the URL without its password.
func (u ServiceURL) MarshalJSON() ([]byte, error) { return json.Marshal(u.String()) }

func (u ServiceURL) revealed() any { return string(u) }
