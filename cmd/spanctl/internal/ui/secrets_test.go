package ui

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/spanmesh/span/cmd/spanctl/internal/support"
)

// What a secret looks like.
const (
	secretA = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
	secretB = "/HfHI/7N84e6GrWBJ3J280z3mLaRJiDcSvj/A+y/4AU="
)

func TestSecretsAreWhatTheAgentHides(t *testing.T) {
	view := func(text string) (v any) {
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			t.Fatal(err)
		}
		return v
	}
	got := secretsOf(view(`{"cluster":{"id":"x","secret":"(hidden)"},"peers":[{"key":"(hidden)"},{"key":"(hidden)"},{"file":"(hidden)"}]}`),
		view(`{"cluster":{"id":"x","secret":"b"},"peers":[{"key":"a"},{"key":"b"},{"file":{"file":"/etc/key"}}]}`))
	if !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("the secrets are %q", got)
	}
}

func TestTextIsShownWithoutSecrets(t *testing.T) {
	for _, test := range []struct {
		name, text, want string
		secrets          []string
		unsafe           bool
	}{
		{name: "each is hidden", secrets: []string{secretA, secretB}, text: "// mine\nsecret: \"" + secretA + "\"\nkey: \"" + secretB + "\" // " + secretA + "\n",
			want: "// mine\nsecret: \"(hidden)\"\nkey: \"(hidden 2)\" // (hidden)\n"},
		{name: "one is a part of the other", secrets: []string{"short-secret", "a-short-secret-and-more"}, text: "a: a-short-secret-and-more\nb: short-secret\n", want: "a: (hidden)\nb: (hidden 2)\n"},
		{name: "none", text: "enabled: true\n", want: "enabled: true\n"},
		{name: "one in another form", secrets: []string{secretA}, text: "secret: \"AAECAwQF\" + \"BgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\"", unsafe: true},
		{name: "one that is written twice, once in parts", secrets: []string{secretA}, text: "// " + strings.TrimRight(secretA, "=") + "\nsecret: " + secretA, unsafe: true},
		{name: "an old one in a comment", secrets: []string{secretA}, text: "// before: " + secretB + "\nsecret: " + secretA, unsafe: true},
		{name: "a password in a URL", text: "endpoint: https://user:hunter2hunter2@disc.example.com/", unsafe: true},
		{name: "the mark itself", secrets: []string{secretA}, text: "// (hidden)\nsecret: " + secretA, unsafe: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, safe := hide(test.text, test.secrets, support.Facts{})
			if safe == test.unsafe || safe && got != test.want {
				t.Fatalf("safe is %t, and the text\n%s\nwant\n%s", safe, got, test.want)
			}
			if !safe {
				return
			}
			for _, secret := range test.secrets {
				if strings.Contains(got, secret) {
					t.Errorf("the text has %s", secret)
				}
			}
			if back, err := unhide(got, test.secrets); err != nil || back != test.text {
				t.Errorf("it comes back as %v\n%s", err, back)
			}
		})
	}
	if _, err := unhide("key: (hidden 3)", []string{secretA, secretB}); err == nil {
		t.Error("a mark that stands for nothing is taken")
	}
}
