package ui

import (
	"embed"
	"fmt"
	"io/fs"
	"net/http"
	"path"
)

//go:embed dist
var dist embed.FS

// contentTypes are those of the page's files, by their endings.
var contentTypes = map[string]string{
	".html": "text/html; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".svg":  "image/svg+xml",
	".txt":  "text/plain; charset=utf-8",
}

// asset is a file of the page.
type asset struct {
	contentType string
	data        []byte
}

// readAssets returns the page's files by their paths; "/" is the page.
func readAssets() (map[string]asset, error) {
	files, err := fs.ReadDir(dist, "dist")
	if err != nil {
		return nil, fmt.Errorf("read the page's files: %w", err)
	}
	assets := map[string]asset{}
	for _, f := range files {
		contentType := contentTypes[path.Ext(f.Name())]
		if contentType == "" {
			continue
		}
		data, err := dist.ReadFile("dist/" + f.Name())
		if err != nil {
			return nil, fmt.Errorf("read the page's files: %w", err)
		}
		name := "/" + f.Name()
		if name == "/index.html" {
			name = "/"
		}
		assets[name] = asset{contentType, data}
	}
	return assets, nil
}

// serveAsset answers with a file of the page.
func (s *Server) serveAsset(w http.ResponseWriter, r *http.Request) {
	a, found := s.assets[r.URL.Path]
	if !found {
		fail(w, r, http.StatusNotFound, "there is nothing at this address")
		return
	}
	w.Header().Set("Content-Type", a.contentType)
	_, _ = w.Write(a.data) // the browser is gone, then
}
