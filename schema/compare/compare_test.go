package compare

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spanmesh/span/schema"
	"github.com/spanmesh/span/schema/load"
)

func TestConfigs(t *testing.T) {
	parse := func(text string) *schema.Config {
		c, err := load.Config("machine.cue", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	const (
		testID     = "yui150Ogam0pdQoNZS2lZR-ihi8EWxNM17bZPktJKKE="
		testSecret = "dAmFcyNmDXusqnTSkPJrsgLJ38W8oEEXGZKM0x6Orpc="
	)
	const other = "AbdsWjY9i797kGglghKvtGdxCsdllX9CemLq+WGVeaw="
	const off = "machine: network: kubespan: enabled: false, "
	base := off + `cluster: {id: "` + testID + `", secret: "` + testSecret + `"}, `
	peer := func(text string) string {
		return base + `cluster: discovery: registries: static: peers: [{name: "phone", publicKey: "` + other + `", ` + text + `}]`
	}
	service := func(password string) string {
		return base + `cluster: discovery: registries: service: endpoint: "https://me:` + password + `@disc.example.com/"`
	}
	for _, c := range []struct {
		name, from, to string
		want           []Setting
	}{
		{"the same", base, base, nil},
		{"a default written down", base, base + "machine: network: kubespan: mtu: 1420\n", nil},
		{"scalars and lists", base, base + `machine: network: kubespan: {relay: offer: true, mtu: "auto", bypass: ["10.0.0.0/8", "10.1.0.0/16"]}`, []Setting{
			{"machine.network.kubespan.bypass", "[]", `["10.0.0.0/8", "10.1.0.0/16"]`},
			{"machine.network.kubespan.mtu", "1420", `"auto"`},
			{"machine.network.kubespan.relay.offer", "false", "true"},
		}},
		{"another secret", base, off + `cluster: {id: "` + testID + `", secret: "` + other + `"}`, []Setting{{"cluster.secret", `"(hidden)"`, anotherSecret}}},
		{"a secret kept elsewhere", base, off + `cluster: {id: "` + testID + `", secret: file: "/secret"}`, []Setting{
			{"cluster.secret", `"(hidden)"`, ""}, {"cluster.secret.file", "", `"/secret"`}}},
		{"a peer more", base, peer(`allowedIPs: ["10.0.0.1/32"]`), []Setting{
			{"cluster.discovery.registries.static.peers[phone].allowedIPs", "", `["10.0.0.1/32"]`},
			{"cluster.discovery.registries.static.peers[phone].endpoints", "", "[]"},
			{"cluster.discovery.registries.static.peers[phone].name", "", `"phone"`},
			{"cluster.discovery.registries.static.peers[phone].publicKey", "", `"` + other + `"`}}},
		{"a peer's preshared key", peer(`presharedKey: "` + testSecret + `"`), peer(`presharedKey: "` + other + `"`), []Setting{
			{"cluster.discovery.registries.static.peers[phone].presharedKey", `"(hidden)"`, anotherSecret}}},
		{"another password of a service", service("hunter22"), service("hunter23"), []Setting{
			{"cluster.discovery.registries.service.endpoint", `"https://me:xxxxx@disc.example.com/"`, anotherSecret}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Configs(parse(c.from), parse(c.to))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
