package schema

import (
	"path/filepath"
	"strings"
)

// Source is a file with a machine config or a part of one, or a directory with a CUE package.
type Source struct {
	// Name is the path of a file or of a directory. The extension of a file is its format.
	Name string
	// Data is the text of the file. It is nil for a directory.
	Data []byte
}

// Format is a notation for machine configs.
type Format int

// The formats that a Source can have.
const (
	FormatCUE Format = iota
	FormatYAML
	FormatJSON
)

// Extensions are the file name extensions of machine configs.
var Extensions = []string{".cue", ".yaml", ".yml", ".json"}

// FormatOf returns the format that the extension of a file name stands for. It is CUE for an
// unknown extension.
func FormatOf(name string) Format {
	switch strings.ToLower(filepath.Ext(name)) {
	case ".yaml", ".yml":
		return FormatYAML
	case ".json":
		return FormatJSON
	default:
		return FormatCUE
	}
}
