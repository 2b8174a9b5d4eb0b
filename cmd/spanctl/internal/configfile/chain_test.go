package configfile

import (
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestChain follows paths through links that are given as "link > target", where everything
// but "missing" is there.
func TestChain(t *testing.T) {
	for name, c := range map[string]struct {
		links []string
		path  string
		// watched are the names that matter, and files what is led to.
		watched, files string
	}{
		"a plain file": {path: "/etc/spanctl/m.cue", watched: "/:etc /etc:spanctl /etc/spanctl:m.cue", files: "/etc/spanctl/m.cue"},
		"a link to a file in another directory": {links: []string{"/etc/m.cue > /srv/m.cue"}, path: "/etc/m.cue",
			watched: "/:etc,srv /etc:m.cue /srv:m.cue", files: "/srv/m.cue"},
		"a directory that is switched, as Kubernetes does": {
			links: []string{"/c/m.cue > ..data/m.cue", "/c/..data > ..2026_1"}, path: "/c/m.cue",
			watched: "/:c /c:..2026_1,..data,m.cue /c/..2026_1:m.cue", files: "/c/..2026_1/m.cue"},
		"a chain through a store": {
			links: []string{"/etc/static > /nix/store/a-etc", "/etc/spanctl > static/spanctl", "/nix/store/a-etc/spanctl/m.cue > /nix/store/b-m.cue"}, path: "/etc/spanctl/m.cue",
			watched: "/:etc,nix /etc:spanctl,static /nix:store /nix/store:a-etc,b-m.cue /nix/store/a-etc:spanctl /nix/store/a-etc/spanctl:m.cue", files: "/nix/store/b-m.cue"},
		"dots after a link": {links: []string{"/a > /x/y"}, path: "/a/../m.cue", watched: "/:a,x /x:m.cue,y", files: "/x/m.cue"},
		"a loop":            {links: []string{"/a > /b", "/b > /a"}, path: "/a/m.cue", watched: "/:a,b"},
		"a missing file":    {path: "/etc/missing", watched: "/:etc /etc:missing"},
		"a missing directory": {
			path: "/etc/missing/m.cue", watched: "/:etc /etc:missing"},
		"a link to nothing": {links: []string{"/m.cue > /srv/missing/m.cue"}, path: "/m.cue", watched: "/:m.cue,srv /srv:missing"},
	} {
		t.Run(name, func(t *testing.T) {
			links := map[string]string{}
			for _, one := range c.links {
				link, target, _ := strings.Cut(one, " > ")
				links[link] = target
			}
			got := chainOf(func(path string) (string, error) {
				if target, ok := links[path]; ok {
					return target, nil
				}
				if strings.HasSuffix(path, "missing") {
					return "", fs.ErrNotExist
				}
				return "", unix.EINVAL
			}, c.path)
			var watched []string
			for _, dir := range slices.Sorted(maps.Keys(got.names)) {
				watched = append(watched, dir+":"+strings.Join(slices.Sorted(maps.Keys(got.names[dir])), ","))
				for name := range got.names[dir] {
					if !got.concerns(filepath.Join(dir, name)) || got.concerns(filepath.Join(dir, name+"~")) {
						t.Errorf("an event at %s in %s is taken for another", name, dir)
					}
				}
			}
			if all := strings.Join(watched, " "); all != c.watched {
				t.Errorf("watched is\n%s, want\n%s", all, c.watched)
			}
			if files := strings.Join(slices.Sorted(maps.Keys(got.files)), " "); files != c.files {
				t.Errorf("the files are %q, want %q", files, c.files)
			}
		})
	}
}
