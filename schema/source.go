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

// formats are the notations by their indices.
var formats = []struct{ name, extension, comment string }{
	FormatCUE: {"CUE", ".cue", "//"}, FormatYAML: {"YAML", ".yaml", "#"}, FormatJSON: {"JSON", ".json", ""},
}

// String returns "CUE", "YAML" or "JSON".
func (f Format) String() string { return formats[f].name }

// Extension returns the file name extension of the format, such as ".cue".
func (f Format) Extension() string { return formats[f].extension }

// CommentMark returns what begins a comment that ends with its line; "" for JSON, which has none.
func (f Format) CommentMark() string { return formats[f].comment }

// mark is what Named appends to a name.
func (f Format) mark() string { return " (as " + f.String() + ")" }

// FormatOf returns the format that Named gave a name, or else that its extension stands for. It is
// CUE for an unknown extension.
func FormatOf(name string) Format {
	for f := range formats {
		if format := Format(f); strings.HasSuffix(name, format.mark()) {
			return format
		}
	}
	f, _ := formatOfExtension(name)
	return f
}

func formatOfExtension(name string) (f Format, known bool) {
	switch strings.ToLower(filepath.Ext(name)) {
	case ".yaml", ".yml":
		return FormatYAML, true
	case ".json":
		return FormatJSON, true
	case ".cue":
		return FormatCUE, true
	default:
		return FormatCUE, false
	}
}

// Named returns a name for people whose format is f: the name of the file, with a remark such as
// "(as YAML)" unless its extension says so.
func Named(file string, f Format) string {
	if of, known := formatOfExtension(file); known && of == f {
		return file
	}
	return file + f.mark()
}

// FileName returns a name whose extension is its format, for one that Named made.
func FileName(name string) string {
	f := FormatOf(name)
	if file, marked := strings.CutSuffix(name, f.mark()); marked {
		return file + f.Extension()
	}
	return name
}

// HasExtension reports whether the extension of a file name stands for a format.
func HasExtension(name string) bool {
	_, known := formatOfExtension(name)
	return known
}
