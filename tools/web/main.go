// Web bundles the pages that spanctl serves. `make web` runs it.
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

// page is a page in a directory: NAME.js and NAME.css with all that they import, and files that
// are served as they are.
type page struct {
	source, dist, name string
	static             []string
}

// pages are the pages by their directories in the repository.
var pages = []page{
	{
		source: "cmd/spanctl/internal/ui/web", dist: "cmd/spanctl/internal/ui/dist", name: "app",
		static: []string{"index.html", "favicon.svg"},
	},
	{
		source: "discoveryhttp/server/page/web", dist: "discoveryhttp/server/page/dist", name: "page",
		static: []string{"index.html", "favicon.svg"},
	},
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: web REPOSITORY DIRECTORY")
		os.Exit(2)
	}
	for _, p := range pages {
		if err := p.write(os.Args[1], os.Args[2]); err != nil {
			fmt.Fprintf(os.Stderr, "web: %s: %v\n", p.source, err)
			os.Exit(1)
		}
	}
}

// write bundles the page of the repository at root into its directory below out.
func (p page) write(root, out string) error {
	files, err := bundle(root, filepath.Join(root, p.source), p.name)
	if err != nil {
		return err
	}
	for _, name := range p.static {
		if files[name], err = os.ReadFile(filepath.Join(root, p.source, name)); err != nil {
			return err
		}
	}
	if files["licenses.txt"], err = licenses(root); err != nil {
		return err
	}
	dist := filepath.Join(out, p.dist)
	if err := os.MkdirAll(dist, 0o755); err != nil {
		return err
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dist, name), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}
