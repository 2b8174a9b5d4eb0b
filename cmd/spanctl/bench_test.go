package main

import (
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spanmesh/span/schema"
)

// program is a copy of a binary that `make bench` built, as an installation makes it: a
// file that the linker wrote piece by piece lies otherwise in the page cache, and
// starts slower.
func program(b *testing.B, variable string) string {
	b.Helper()
	path := os.Getenv(variable)
	if path == "" {
		b.Skipf("%s names no program: run `make bench`", variable)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		b.Fatal(err)
	}
	path = filepath.Join(b.TempDir(), filepath.Base(path))
	if err := os.WriteFile(path, data, 0o700); err != nil {
		b.Fatal(err)
	}
	return path
}

func runs(b *testing.B, name string, args ...string) {
	b.Helper()
	if out, err := exec.CommandContext(b.Context(), name, args...).CombinedOutput(); err != nil {
		b.Fatalf("%s %v: %v: %s", name, args, err, out)
	}
}

// BenchmarkValidate is a whole process that checks a config, and beside it cue(1) with
// the same schema, which checks less.
func BenchmarkValidate(b *testing.B) {
	spanctl, cue := program(b, "SPANCTL_BINARY"), program(b, "CUE_BINARY")
	dir := b.TempDir()
	shape := filepath.Join(dir, "schema.cue")
	if err := os.WriteFile(shape, schema.CUE(), 0o600); err != nil {
		b.Fatal(err)
	}
	guide, err := filepath.Abs("../../schema/load/testdata/guide.yaml")
	if err != nil {
		b.Fatal(err)
	}
	peers := filepath.Join(dir, "peers.json")
	if err := os.WriteFile(peers, manyPeers(1000), 0o600); err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct{ name, file string }{{"config=guide", guide}, {"config=1000-peers", peers}} {
		b.Run("spanctl-validate/"+c.name, func(b *testing.B) {
			for b.Loop() {
				runs(b, spanctl, "validate", "-f", c.file)
			}
		})
		b.Run("cue-vet/"+c.name, func(b *testing.B) {
			for b.Loop() {
				runs(b, cue, "vet", "-c", "-d", "#Machine", shape, c.file)
			}
		})
	}
}

// BenchmarkStart is how long it takes until there is an answer that needs nothing.
func BenchmarkStart(b *testing.B) {
	spanctl := program(b, "SPANCTL_BINARY")
	for _, word := range []string{"version", "--help"} {
		b.Run("spanctl="+strings.Trim(word, "-"), func(b *testing.B) {
			for b.Loop() {
				runs(b, spanctl, word)
			}
		})
	}
}

// manyPeers is a config with static peers, in JSON, which both read.
func manyPeers(n int) []byte {
	peers := make([]string, n)
	for i := range peers {
		key := base64.StdEncoding.EncodeToString([]byte(fmt.Sprintf("%032d", i)))
		peers[i] = fmt.Sprintf(`{"name": "peer-%d", "publicKey": %q, "endpoints": ["192.0.2.%d:51820"], "allowedIPs": ["10.%d.%d.0/24"]}`,
			i, key, i%250+1, i/250, i%250)
	}
	return []byte(`{"machine": {"network": {"kubespan": {"enabled": true}}}, "cluster": {
		"id": "EUsCYz+oHNuBppS51P9aKSIOyYvIPmbZK944PWgiyMQ=", "secret": "AbdsWjY9i797kGglghKvtGdxCsdllX9CemLq+WGVeaw=",
		"discovery": {"enabled": true, "registries": {"static": {"peers": [` + strings.Join(peers, ",\n") + `]}}}}}`)
}
