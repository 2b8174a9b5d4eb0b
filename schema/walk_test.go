package schema

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestRevealed encodes a config with and without its secrets.
func TestRevealed(t *testing.T) {
	c := &Config{Cluster: Cluster{ID: "id", Secret: SecretText("one")}}
	c.Cluster.Discovery.Registries.Static.Peers = []StaticPeer{
		{Name: "phone", PresharedKey: SecretText("two")},
		{Name: "router", PresharedKey: Secret{text: "three", from: SecretSource{File: "/psk"}}},
	}
	hidden, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	revealed, err := json.Marshal(c.Revealed())
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{`"secret":"one"`, `"presharedKey":"two"`, `"presharedKey":{"file":"/psk"}`, `"mtu":"auto"`, `"id":"id"`} {
		if !strings.Contains(string(revealed), text) {
			t.Errorf("%s is missing in %s", text, revealed)
		}
	}
	for _, text := range []string{`"one"`, `"two"`, "three"} {
		if strings.Contains(string(hidden), text) {
			t.Errorf("%s is in %s", text, hidden)
		}
	}
	if strings.Contains(string(revealed), "three") {
		t.Errorf("the text of a secret with a source is in %s", revealed)
	}
	// Both have the same fields.
	var a, b any
	if json.Unmarshal(hidden, &a) != nil || json.Unmarshal(revealed, &b) != nil || len(a.(map[string]any)) != len(b.(map[string]any)) {
		t.Errorf("the fields of %s and %s differ", hidden, revealed)
	}
}
