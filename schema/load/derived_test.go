package load_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/spanmesh/span/schema"
	"github.com/spanmesh/span/schema/load"
)

// TestValuesMadeOfASecret has settings that are computed from the secret, and wrong: what is said of
// them has no part of it.
func TestValuesMadeOfASecret(t *testing.T) {
	const secret = "0s5YmQwFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
	for _, value := range []string{
		`interfaceName: strings.Replace(cluster.secret, "=", "_", -1)`,
		`interfaceName: strings.ToUpper(cluster.secret)`,
		`interfaceName: strings.ToLower(cluster.secret)`,
		`interfaceName: "\(strings.SliceRunes(cluster.secret, 0, 20)).mesh"`,
		`interfaceName: strings.Join(strings.Split(cluster.secret, ""), "_")`,
		`interfaceName: base64.Encode(null, cluster.secret)`,
		`interfaceName: hex.Encode(cluster.secret)`,
		`interfaceName: *strings.SliceRunes(cluster.secret, 0, 20) | string`,
		`interfaceName: strings.SliceRunes(cluster.secret, 0, 12) & "mesh"`,
		`extraAnnouncedEndpoints: [strings.SliceRunes(cluster.secret, 0, 20)]`,
		`extraAnnouncedEndpoints: [for c in strings.Split(cluster.secret, "") {c + c}]`,
		`mtu: strconv.Atoi(strings.SliceRunes(cluster.secret, 0, 20))`,
		`mtu: strings.SliceRunes(cluster.secret, 0, 20)`,
		`mtu: error("it is \(strings.SliceRunes(cluster.secret, 0, 20))")`,
		`filters: endpoints: [strings.SliceRunes(cluster.secret, 0, 20)]`,
	} {
		text := "import (\n\t\"strings\"\n\t\"strconv\"\n\t\"encoding/base64\"\n\t\"encoding/hex\"\n)\n" +
			"cluster: {id: \"x\", secret: \"" + secret + "\", discovery: enabled: true}\nmachine: network: kubespan: enabled: true\nmachine: network: kubespan: " + value + "\n" +
			"_use: [strings.MinRunes(1), strconv.FormatInt(1, 10), base64.Encode(null, \"x\"), hex.Encode(\"x\")]\n"
		_, err := load.Input{Sources: []schema.Source{{Name: "m.cue", Data: []byte(text)}}}.Load()
		var problems schema.Problems
		if !errors.As(err, &problems) {
			t.Errorf("%s: the error is %v", value, err)
			continue
		}
		for _, shown := range []string{err.Error(), problems.Explain()} {
			for _, form := range []string{secret[:6], strings.ToUpper(secret)[:6], strings.ToLower(secret)[:6], "0_s_5", "MHM1WW1R", "3073355", "sszz", "ss:"} {
				if strings.Contains(shown, form) {
					t.Errorf("%s: the error has %s:\n%s", value, form, shown)
				}
			}
		}
	}
}

// TestQueryOfAURLIsNotShown has an endpoint with a password, a query and a fragment, which are refused.
func TestQueryOfAURLIsNotShown(t *testing.T) {
	for _, text := range []string{
		"cluster: {id: \"x\", secret: \"BAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\", discovery: registries: service: endpoint: \"URL\"}\n",
		"cluster: discovery: registries: service: endpoint: \"URL\" & \"x\"\n",
		"cluster: discovery: registries: service: endpoint: \"URL\" + 1\n",
	} {
		text = strings.Replace(text, "URL", "http://usr:hunter22@192.0.2.1:3999/x/?key=qsecretvalue#fsecret", 1)
		_, err := load.Input{Sources: []schema.Source{{Name: "m.cue", Data: []byte(text)}}}.Load()
		var problems schema.Problems
		if !errors.As(err, &problems) {
			t.Fatalf("the error is %v", err)
		}
		for _, part := range []string{"hunter22", "qsecret", "fsecret"} {
			if strings.Contains(err.Error()+problems.Explain(), part) {
				t.Errorf("it has %s: %s", part, problems.Explain())
			}
		}
	}
}
