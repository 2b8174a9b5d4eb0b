package load

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
)

// sixtyLines returns a config of a usual length.
func sixtyLines() string {
	var b strings.Builder
	b.WriteString("machine: network: kubespan: {\n\tenabled: true\n\tmtu: 1400\n\tfilters: endpoints: [\n")
	for i := range 40 {
		fmt.Fprintf(&b, "\t\t\"!10.%d.0.0/16\",\n", i)
	}
	b.WriteString("\t]\n\tlistenPort: 51999\n\tharvestExtraEndpoints: true\n\tbypass: [\"192.168.0.0/16\"]\n}\n")
	fmt.Fprintf(&b, "cluster: {\n\tid: %q\n\tsecret: %q\n\tdiscovery: {\n\t\tenabled: true\n\t\tregistries: service: endpoint: \"https://discovery.example.com/\"\n\t}\n}\n", testID, testSecret)
	return b.String()
}

// withPeers returns a config with n static peers.
func withPeers(n int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "machine: network: kubespan: enabled: true\ncluster: {id: %q, secret: %q, discovery: {enabled: true, registries: static: peers: [\n", testID, testSecret)
	for i := range n {
		key := base64.StdEncoding.EncodeToString([]byte(fmt.Sprintf("%032d", i)))
		fmt.Fprintf(&b, "\t{name: \"peer-%d\", publicKey: %q, endpoints: [\"192.0.2.%d:51820\"], allowedIPs: [\"10.%d.%d.0/24\"]},\n", i, key, i%250+1, i/250, i%250)
	}
	b.WriteString("]}}\n")
	return b.String()
}

// BenchmarkLoad measures what an agent does when its config changes, without the kernel.
func BenchmarkLoad(b *testing.B) {
	for _, c := range []struct{ name, text string }{{"lines=60", sixtyLines()}, {"peers=1000", withPeers(1000)}} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				if _, err := Config("machine.cue", []byte(c.text)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
