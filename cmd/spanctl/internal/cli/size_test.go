package cli

import (
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

func TestSizes(t *testing.T) {
	for text, want := range map[string]struct {
		bytes int64
		shown string
	}{
		"0":                {0, "0"},
		"1":                {1, "1B"},
		"536870912":        {512 << 20, "512MiB"},
		"512Mi":            {512 << 20, "512MiB"},
		"512MiB":           {512 << 20, "512MiB"},
		"512 MiB":          {512 << 20, "512MiB"},
		"1GiB":             {1 << 30, "1GiB"},
		"1.5gib":           {3 << 29, "1536MiB"},
		"2G":               {2e9, "1953125KiB"},
		"2GB":              {2e9, "1953125KiB"},
		"10k":              {10_000, "10000B"},
		"9007199254740993": {1<<53 + 1, "9007199254740993B"},
		"-1":               {-1, "-1B"},
	} {
		var got int64
		f := sizeFlag[int64]{&got}
		if err := f.Set(text); err != nil || got != want.bytes || f.String() != want.shown {
			t.Errorf("%q is %d, shown as %s, %v; want %d as %s", text, got, f, err, want.bytes, want.shown)
		}
		// What is shown is exactly the value.
		if err := f.Set(f.String()); err != nil || got != want.bytes {
			t.Errorf("%q is shown as what is %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "G", "1Gx", "-1GiB", "lots", "16EiB", "1e9", "0x10"} {
		got := int64(7)
		if err := (sizeFlag[int64]{&got}).Set(text); err == nil || got != 7 {
			t.Errorf("%q is taken for %d", text, got)
		}
	}
}

func TestSizeThatIsNone(t *testing.T) {
	f := &serveOptions{}
	flags := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	f.flags(flags)
	err := flags.Parse([]string{"--max-memory", "1Gx"})
	if err == nil || !strings.Contains(err.Error(), `"1Gx" for "--max-memory"`) || !strings.Contains(err.Error(), "512MiB") {
		t.Errorf("got %v", err)
	}
}
