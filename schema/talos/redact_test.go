package talos_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/spanmesh/span/schema"
	"github.com/spanmesh/span/schema/talos"
)

// TestSecretsOfTalosAreNeverPrinted imports files with secrets of Talos and with secrets that spanctl
// takes over. Neither errors nor notes may have them.
func TestSecretsOfTalosAreNeverPrinted(t *testing.T) {
	const id = "yui150Ogam0pdQoNZS2lZR-ihi8EWxNM17bZPktJKKE="
	for _, secret := range []string{"Kf3v9Zq1LwXy7Tn2Bd5Rj8Hg4Mc6Ps0Ua", "abcdef.0123456789abcdef", "dAmFcyNmDXusqnTSkPJrsgLJ38W8oEEXGZKM0x6Orpc="} {
		for _, text := range []string{
			"machine: {token: BARE, ca: {crt: BARE, key: BARE}}\ncluster: {secret: BARE, id: ID, token: BARE, aescbcEncryptionSecret: BARE, secretboxEncryptionSecret: BARE, ca: {key: BARE}}",
			"machine: {token: BARE}\ncluster: {secret: BARE, id: BARE}",
			"machine: BARE\ncluster: BARE", "machine: {network: BARE}\ncluster: [BARE]", "machine: {token: BARE\ncluster: {", "machine:\n  token: BARE\n token: x", "BARE", "- BARE", "machine: {token: *BARE}", "machine: {token: &BARE x}",
			"machine: {token: !!int BARE}", "cluster: {secret: [BARE]}", "cluster: {secret: {x: BARE}}", "cluster: {secret: BARE, secret: BARE}", "machine: {BARE: 1, BARE: 2}", "? [BARE]\n: 1", "machine:\n\ttoken: BARE", "machine: {token: \"BARE",
			"apiVersion: v1alpha1\nkind: DiscoveryIdentityConfig\nclusterID: ID\nclusterSecret: BARE", "kind: DiscoveryIdentityConfig\nclusterSecret: BARE\n---\nkind: DiscoveryIdentityConfig\nclusterSecret: another",
			"kind: KubeSpanConfig\nmtu: 900\n---\ncluster: {secret: BARE}", "kind: DiscoveryServiceConfig\nendpoint: BARE\n---\ncluster: {secret: BARE}",
		} {
			text = strings.NewReplacer("BARE", secret, "ID", id).Replace(text)
			for _, name := range []string{"machine.cue", "machine.yaml", "machine.json"} {
				got, err := talos.Import(schema.Source{Name: "worker.yaml", Data: []byte(text)}, talos.Options{Name: name, Enable: true, NewSecrets: bytes.NewReader(make([]byte, 64))})
				shown := fmt.Sprint(err, got.Left, got.Notes, got.Warnings)
				var problems schema.Problems
				if errors.As(err, &problems) {
					shown += problems.Explain()
				}
				if strings.Contains(shown, secret) {
					t.Errorf("%s out of\n%s\nprints %s", name, text, shown)
				}
			}
		}
	}
}
