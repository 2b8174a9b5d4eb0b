package load

import (
	"errors"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/tools/txtar"

	"github.com/spanmesh/span/schema"
)

var update = flag.Bool("update", false, "rewrite the expected messages in testdata/bad")

// TestBadConfigs reads each archive of testdata/bad: a config, and under "errors" the messages that
// it must yield.
func TestBadConfigs(t *testing.T) {
	archives, err := filepath.Glob("testdata/bad/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatalf("no archives: %v", err)
	}
	for _, path := range archives {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			_, err = Config(archive.Files[0].Name, archive.Files[0].Data)
			if err == nil {
				t.Fatal("the config was accepted")
			}
			var problems schema.Problems
			if !errors.As(err, &problems) {
				t.Fatalf("error is %T, not Problems: %v", err, err)
			}
			got := err.Error() + "\n"
			if *update {
				archive.Files = append(archive.Files[:1], txtar.File{Name: "errors", Data: []byte(got)})
				if err := os.WriteFile(path, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(archive.Files[1].Data), got); diff != "" {
				t.Errorf("messages (-want +got):\n%s", diff)
			}
		})
	}
}

const (
	testID     = "yui150Ogam0pdQoNZS2lZR-ihi8EWxNM17bZPktJKKE="
	testSecret = "dAmFcyNmDXusqnTSkPJrsgLJ38W8oEEXGZKM0x6Orpc="
)

// TestFormatsAreEqual loads the same config in CUE, YAML and JSON. The settings that the files do not
// have are those of TestDefaults.
func TestFormatsAreEqual(t *testing.T) {
	want, err := Config("defaults.cue", []byte("machine: {network: {kubespan: {enabled: false}}}"))
	if err != nil {
		t.Fatal(err)
	}
	k := want.KubeSpan()
	k.Enabled, k.MTU = true, 1400
	k.Filters = schema.Filters{
		Endpoints:                 []schema.Filter{{Prefix: netip.MustParsePrefix("192.168.0.0/16"), Exclude: true}},
		ExcludeAdvertisedNetworks: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")},
	}
	k.ExtraAnnouncedEndpoints = []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:4000")}
	want.Cluster.ID, want.Cluster.Secret = testID, schema.SecretText(testSecret)
	want.Cluster.Discovery.Enabled = true
	want.Cluster.Discovery.Registries.Service.Endpoint = "http://127.0.0.1:3000"
	for _, name := range []string{"full.cue", "full.yaml", "full.json"} {
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile(filepath.Join("testdata", name))
			if err != nil {
				t.Fatal(err)
			}
			got, err := Config(name, data)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Prefix{}, netip.AddrPort{}),
				cmp.Transformer("reveal", schema.Secret.Reveal)); diff != "" {
				t.Errorf("config (-want +got):\n%s", diff)
			}
		})
	}
}

// TestGuideSnippets loads the YAML snippets of Talos' KubeSpan guide, byte for byte. Each is a valid
// fragment. The two of its upgrade path are a valid config together.
func TestGuideSnippets(t *testing.T) {
	read := func(name string) []byte {
		data, err := os.ReadFile(filepath.Join("testdata/seed", name))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	created, err := Fragment("create.yaml", read("create.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if !created.KubeSpan().Enabled || !created.Cluster.Discovery.Enabled || created.Cluster.ID != testID {
		t.Errorf("create.yaml lost something: %+v", created)
	}
	for _, name := range []string{"secrets.yaml", "enable.yaml"} {
		if _, err := Fragment(name, read(name)); err != nil {
			t.Error(err)
		}
	}
	if _, err := Config("secrets.yaml", read("secrets.yaml")); err == nil {
		t.Error("id and secret alone are taken for a whole config")
	}
	both := append(append(read("secrets.yaml"), "---\n"...), read("enable.yaml")...)
	upgraded, err := Config("both.yaml", both)
	if err != nil {
		t.Fatal(err)
	}
	if !upgraded.KubeSpan().Enabled || upgraded.Cluster.Secret.IsZero() {
		t.Errorf("both.yaml lost something: %+v", upgraded)
	}
}

// TestDefaults loads configs that set nothing.
func TestDefaults(t *testing.T) {
	want := schema.Config{
		Machine: schema.Machine{Network: schema.Network{KubeSpan: schema.KubeSpan{
			MTU: 1420, Relay: schema.Relay{Port: 51821}, NAT: schema.NAT{STUN: true, Punch: true, PortMapping: true}, Names: schema.Names{Domain: "span.internal"}, ListenPort: 51820, InterfaceName: "kubespan",
			RoutingTable: 180, RulePriority: 32500, FirewallMark: 0x20, PersistentKeepalive: 25,
		}}},
		Cluster: schema.Cluster{Discovery: schema.Discovery{Registries: schema.Registries{
			Kubernetes: schema.KubernetesRegistry{Disabled: true},
			Service:    schema.ServiceRegistry{Endpoint: "https://discovery.talos.dev/", Protocol: "auto"},
		}}},
	}
	for _, name := range []string{"a.cue", "a.yaml"} {
		got, err := Config(name, []byte("machine: {network: {kubespan: {enabled: false}}}"))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(&want, got, cmpopts.EquateEmpty(), cmp.Comparer(func(a, b schema.Secret) bool { return a == b })); diff != "" {
			t.Errorf("%s: (-want +got):\n%s", name, diff)
		}
	}
}

func TestSecretsAreHidden(t *testing.T) {
	for name, text := range map[string]string{
		"quoted.yaml":   "cluster: {secret: [" + testSecret + "]}",
		"unquoted.cue":  "cluster: secret: dAmFcyNmDXusqnTSkPJrsgLJ38W8oEEXGZKM0x6Orpc",
		"conflict.yaml": "cluster: {secret: " + testSecret + "}\n---\ncluster: {secret: AbdsWjY9i797kGglghKvtGdxCsdllX9CemLq+WGVeaw=}\n",
		"short.json":    `{"cluster":{"secret":"dAmFcyNmDXusqnTSkPJrsgLJ38W8oEEXGZKM0x6Orpc"}}`,
		"number.cue":    "cluster: secret: dAmFcyNmDXusqnTSkPJrsgLJ38W8oEEXGZKM0x6Orpc + 1",
	} {
		_, err := Config(name, []byte(text))
		if err == nil {
			t.Errorf("%s was accepted", name)
			continue
		}
		for _, secret := range []string{"dAmFcyNmDXus", "AbdsWjY9i797"} {
			if strings.Contains(err.Error(), secret) {
				t.Errorf("%s: the message shows the secret: %v", name, err)
			}
		}
	}
}

func TestHugeFilesAreRefused(t *testing.T) {
	if _, err := Config("a.cue", make([]byte, MaxSize+1)); err == nil {
		t.Error("accepted")
	}
}

func FuzzConfig(f *testing.F) {
	for _, pattern := range []string{"testdata/full.*", "testdata/seed/*"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, path := range paths {
			data, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(filepath.Ext(path), data)
		}
	}
	f.Fuzz(func(t *testing.T, extension string, data []byte) {
		if len(data) > 4096 {
			return
		}
		name := "fuzz" + extension
		config, err := Config(name, data)
		if err != nil {
			if err.Error() == "" {
				t.Error("the error has no message")
			}
			return
		}
		if mtu := config.KubeSpan().MTU; mtu < 1280 {
			t.Errorf("accepted an MTU of %d", mtu)
		}
		if config.Cluster.Discovery.Enabled && config.Cluster.ID == "" {
			t.Error("accepted discovery without an id")
		}
	})
}

func TestOptionalSettings(t *testing.T) {
	config, err := Config("machine.cue", []byte(`
machine: network: kubespan: {
	enabled: false, mtu: "auto", fwmark: 0x1000, routingTable: 1000, rulePriority: 100, persistentKeepalive: 0
	bypass: ["10.0.0.0/24"], advertisedNetworks: ["10.9.0.0/16"], filters: peerEndpoints: ["!10.0.0.0/8"]
	relay: {offer: true, use: true}
	nat: {stun: false, servers: ["stun.example.com:3478"]}
}
cluster: {id: "`+testID+`", secret: "`+testSecret+`", discovery: enabled: true
	discovery: registries: {service: disabled: true, static: peers: [
		{name: "phone", publicKey: "dAmFcyNmDXusqnTSkPJrsgLJ38W8oEEXGZKM0x6Orpc=", presharedKey: "`+testSecret+`", allowedIPs: ["10.5.0.1/24"], endpoints: ["192.0.2.1:1"]},
	]}
}`))
	if err != nil {
		t.Fatal(err)
	}
	k := config.KubeSpan()
	if k.MTU != schema.AutoMTU || k.FirewallMark != 0x1000 || k.RoutingTable != 1000 || k.RulePriority != 100 || k.PersistentKeepalive != 0 ||
		!k.Relay.Offer || !k.Relay.UsesForwarding() || len(k.Bypass) != 1 || len(k.AdvertisedNetworks) != 1 || len(k.Filters.PeerEndpoints) != 1 {
		t.Errorf("got %+v", k)
	}
	if k.NAT.STUN || len(k.NAT.Servers) != 1 || k.NAT.Servers[0] != (schema.STUNServer{Host: "stun.example.com", Port: 3478}) {
		t.Errorf("got %+v", k.NAT)
	}
	peers := config.Cluster.Discovery.Registries.Static.Peers
	if len(peers) != 1 || peers[0].AllowedIPs[0] != netip.MustParsePrefix("10.5.0.0/24") || peers[0].Name != "phone" ||
		peers[0].PresharedKey.Reveal() != testSecret || peers[0].PublicKey == (schema.StaticKey{}) {
		t.Errorf("got %+v", peers)
	}
}
