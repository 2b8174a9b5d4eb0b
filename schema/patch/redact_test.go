package patch_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/spanmesh/span/schema"
	"github.com/spanmesh/span/schema/load"
	"github.com/spanmesh/span/schema/patch"
)

// TestSecretsOfPatchesAreNeverPrinted applies patches with a secret, of which most have a fault, and
// loads what comes of them. Neither error may have the secret.
func TestSecretsOfPatchesAreNeverPrinted(t *testing.T) {
	bases := []schema.Source{
		{Name: "machine.cue", Data: []byte("cluster: secret: \"another secret\"\nmachine: network: kubespan: mtu: 1400\n")},
		{Name: "machine.yaml", Data: []byte("cluster: {secret: another secret}\n")},
		{Name: "machine.json", Data: []byte(`{"cluster": {"secret": "another secret"}}`)},
	}
	patches := map[string][]string{
		"cue": {
			"cluster: secret: QUOTED", "cluster: secret: BARE", "cluster: secrt: QUOTED", "cluster: QUOTED", "QUOTED", "cluster: secret: QUOTED & 1", "cluster: secret: QUOTED AGAIN", "machine: secret: QUOTED", "[QUOTED]",
			"cluster: {secret: {file: 1, vault: QUOTED}}", "cluster: discovery: registries: static: peers: [{presharedKey: QUOTED}]", "cluster: discovery: registries: static: peers: [{name: \"a\", presharedKeys: QUOTED}]",
		},
		"yaml": {
			"cluster: {secret: BARE}", "cluster: BARE", "BARE", "- BARE", "- {op: BARE, path: /cluster/secret, value: BARE}", "- {op: replace, path: /cluster/secret, value: BARE}", "- {op: add, path: /cluster/id/x, value: BARE}",
			"- {op: test, path: /cluster/secret, value: BARE}", "- {op: remove, path: /cluster/BARE}", "- {op: replace, path: BARE, value: 1}", "- {op: add, path: /BARE/x/y, value: 1}", "- {op: move, from: /BARE, path: /cluster/id}",
			"- {op: copy, from: /cluster/BARE, path: /cluster/id}", "- {op: add, path: [BARE], value: 1}", "- {path: /cluster/secret, value: BARE}", "- {op: add, value: BARE}", "- [BARE]", "- {op: add, path: /cluster/discovery, value: BARE}", "BARE: BARE",
			"- {op: replace, path: /cluster, value: BARE}", "- {op: replace, path: /cluster, value: {secrt: BARE}}", "cluster: {secret: {BARE: 1}}", "cluster: {secret: &a BARE, id: *b}", "- {op: add, path: /cluster/secret/x, value: BARE}", "cluster: {secret: BARE",
		},
		"json": {`{"cluster": {"secret": QUOTED}}`, `{"cluster": {"secret": QUOTED, }}`, `[{"op": "replace", "path": "/cluster/secret", "value": QUOTED}, {"op": "test", "path": "/cluster/secret", "value": "x"}]`, `[{"op": "add", "path": "/cluster/secret/-", "value": QUOTED}]`, `[QUOTED]`, `QUOTED`},
	}
	for _, secret := range []string{"Kf3v9Zq1LwXy7Tn2Bd5Rj8Hg4Mc6Ps0Ua-bCdEfGhI", "dAmFcyNmDXusqnTSkPJrsgLJ38W8oEEXGZKM0x6Orpc=", "a/b~c hunter"} {
		quoted, err := json.Marshal(secret)
		if err != nil {
			t.Fatal(err)
		}
		for extension, texts := range patches {
			for _, text := range texts {
				text = strings.NewReplacer("QUOTED", string(quoted), "BARE", secret, "AGAIN", secret).Replace(text)
				for _, base := range bases {
					got, err := patch.Apply(base, schema.Source{Name: "patch." + extension, Data: []byte(text)})
					if err == nil {
						_, err = load.Config(got.Name, got.Data)
					}
					if shown := explain(err); strings.Contains(shown, secret) {
						t.Errorf("%s with the patch\n%s\nprints %s", base.Name, text, shown)
					}
				}
			}
		}
	}
}

// explain returns everything that is printed of an error.
func explain(err error) string {
	if err == nil {
		return ""
	}
	var problems schema.Problems
	if errors.As(err, &problems) {
		return err.Error() + "\n" + problems.Explain()
	}
	return err.Error()
}
