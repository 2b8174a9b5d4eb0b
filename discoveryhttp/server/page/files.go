package page

import (
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"path"
	"sync"
)

// File is a file that a browser loads. Nobody changes it.
type File struct {
	Content []byte
	// Type is its media type.
	Type string
	// ETag names the content, as HTTP wants it.
	ETag string
}

//go:embed dist
var dist embed.FS

// types are the media types of files by their extensions. Files with others are not served.
var types = map[string]string{
	".html": "text/html; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".svg":  "image/svg+xml",
	".txt":  "text/plain; charset=utf-8",
}

// Index is the name of the page itself.
const Index = "index.html"

// files are all files by name. They are read once, when a browser first asks for one.
var files = sync.OnceValue(func() map[string]File {
	all := map[string]File{}
	entries, err := dist.ReadDir("dist")
	if err != nil {
		return all // the directory is in the program
	}
	for _, e := range entries {
		content, err := dist.ReadFile("dist/" + e.Name())
		if kind := types[path.Ext(e.Name())]; err == nil && kind != "" {
			sum := sha256.Sum256(content)
			all[e.Name()] = File{Content: content, Type: kind, ETag: `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`}
		}
	}
	return all
})

// FileOf returns the file of a name.
func FileOf(name string) (File, bool) {
	f, ok := files()[name]
	return f, ok
}
