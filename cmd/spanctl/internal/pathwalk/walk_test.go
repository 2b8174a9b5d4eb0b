package pathwalk

import (
	"errors"
	"slices"
	"strings"
	"syscall"
	"testing"
)

func TestFollow(t *testing.T) {
	links := map[string]string{"/etc/conf": "../run/now", "/run/now": "v2", "/abs": "/etc/conf", "/loop": "loop"}
	for path, want := range map[string]string{
		"/etc/file":         "/etc /etc/file = /etc/file",
		"/etc//./conf/x":    "/etc /etc/conf /run /run/now /run/v2 /run/v2/x = /run/v2/x",
		"/abs/../y":         "/abs /etc /etc/conf /run /run/now /run/v2 /run/y = /run/y",
		"/etc/../../../etc": "/etc /etc = /etc",
	} {
		var seen []string
		end, err := Follow(path, func(dir, name string) (string, error) {
			part := strings.TrimSuffix(dir, "/") + "/" + name
			seen = append(seen, part)
			return links[part], nil
		})
		got := strings.Join(append(seen, "=", end), " ")
		if got != want || err != nil {
			t.Errorf("%s leads %s, %v; want %s", path, got, err, want)
		}
	}
	if _, err := Follow("/loop", func(string, string) (string, error) { return "loop", nil }); !errors.Is(err, syscall.ELOOP) {
		t.Errorf("a loop ends with %v", err)
	}
	refused := errors.New("refused")
	var seen []string
	if _, err := Follow("/a/b/c", func(_, name string) (string, error) {
		seen = append(seen, name)
		if name == "b" {
			return "", refused
		}
		return "", nil
	}); !errors.Is(err, refused) || !slices.Equal(seen, []string{"a", "b"}) {
		t.Errorf("after %q the walk ends with %v", seen, err)
	}
}
