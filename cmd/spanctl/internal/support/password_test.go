package support

import (
	"slices"
	"testing"
)

func TestPasswordsOfURLsAreSecrets(t *testing.T) {
	facts := &Facts{}
	facts.Learn([]byte(`{"spec": {"cluster": {"discovery": {"registries": {"service": {
		"endpoint": "https://bob:o'ne@disc.example.com/", "endpoints": ["http://bob:t@wo@10.0.0.1:3000"]}}}}}}`))
	for _, want := range []string{"o'ne", "t@wo"} {
		if !slices.Contains(facts.Secrets, want) {
			t.Errorf("the password %q is no secret: %q", want, facts.Secrets)
		}
	}
	for _, text := range []string{"https://disc.example.com/", "https://bob@disc.example.com/", "bob:x@disc", "a b://c:d@e"} {
		if got := passwordOf(text); got != "" {
			t.Errorf("%s has the password %q", text, got)
		}
	}
}
