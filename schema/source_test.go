package schema

import (
	"testing"
)

func TestNamed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		file           string
		format         Format
		name, fileName string
	}{
		{"m.cue", FormatCUE, "m.cue", "m.cue"},
		{"m.yml", FormatYAML, "m.yml", "m.yml"},
		{"m.cue", FormatYAML, "m.cue (as YAML)", "m.cue.yaml"},
		{"m.yaml.tmpl", FormatYAML, "m.yaml.tmpl (as YAML)", "m.yaml.tmpl.yaml"},
		{"m", FormatCUE, "m (as CUE)", "m.cue"},
		{"/dev/fd/63", FormatJSON, "/dev/fd/63 (as JSON)", "/dev/fd/63.json"},
	} {
		name := Named(c.file, c.format)
		if name != c.name || FormatOf(name) != c.format || FileName(name) != c.fileName {
			t.Errorf("%s as %v is named %q, of the format %v, and stored as %q", c.file, c.format, name, FormatOf(name), FileName(name))
		}
	}
}
