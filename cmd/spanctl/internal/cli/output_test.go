package cli

import (
	"math/rand/v2"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/spanmesh/span/cmd/spanctl/internal/terminal"
)

// TestYAMLIsReadAsItWasWritten writes texts that others choose, as values and as keys.
func TestYAMLIsReadAsItWasWritten(t *testing.T) {
	texts := []string{"\n x", "\tx\ny", " x\ny", "x\n\n", "a\r\nb", "null", "1e3", "0x1f", "<<", "---", "\x1b[2J", "\u009b", "\u202e", "\ufeff", "\U0001f600"}
	alphabet := []rune(" \t\n\r:-#?!&*'\"%@`{}[],|>ab=~\x00\x1b\u007f\u0085\u009b\u00e9\u202e\u2028\ufeff\U0001f600")
	random := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		var b strings.Builder
		for range random.IntN(6) {
			b.WriteRune(alphabet[random.IntN(len(alphabet))])
		}
		texts = append(texts, b.String())
	}
	for _, text := range texts {
		document, err := yamlOfJSON(map[string]any{"value": text, "list": []any{text, text}, "map": map[string]any{text: text}})
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if strings.ContainsFunc(string(document), terminal.IsUnsafeInLines) {
			t.Errorf("%q is written as %q", text, document)
		}
		var read map[string]any
		if err := yaml.Unmarshal(document, &read); err != nil {
			t.Errorf("%q: %v\n%s", text, err, document)
			continue
		}
		list, _ := read["list"].([]any)
		inMap, _ := read["map"].(map[string]any)
		if read["value"] != text || len(list) != 2 || list[1] != text || inMap[text] != text {
			t.Errorf("%q is read as %q\n%s", text, read, document)
		}
	}
}
