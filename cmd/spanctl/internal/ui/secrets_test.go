package ui

import (
	"strings"
	"testing"
)

func TestFillPutsTheSecretsInForceWhereTheyAreHidden(t *testing.T) {
	inForce := map[string]any{"cluster": map[string]any{"secret": "s1", "id": "x"}, "peers": []any{map[string]any{"key": "k1"}, map[string]any{"key": "k2"}}}
	for _, test := range []struct{ name, text, want, fault string }{
		{name: "each in its place", text: "cluster: # mine\n    secret: (hidden)\n    id: other\npeers:\n    - key: (hidden)\n    - key: (hidden)\n",
			want: "cluster: # mine\n    secret: s1\n    id: other\npeers:\n    - key: k1\n    - key: k2\n"},
		{name: "another one is given", text: "cluster:\n    secret: s3\npeers:\n    - key: (hidden)\n    - key: k4\n", want: "cluster:\n    secret: s3\npeers:\n    - key: k1\n    - key: k4\n"},
		{name: "the list has another length", text: "peers:\n    - key: (hidden)\n", fault: "has no secret"},
		{name: "there is none", text: "cluster:\n    token: (hidden)\n", fault: "has no secret"},
		{name: "no YAML", text: "cluster: {secret: (hidden)", fault: "must be YAML"},
		{name: "two documents' worth of nothing", text: "# (hidden)\n", fault: "must be YAML"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := fill(test.text, inForce)
			if test.fault != "" {
				if err == nil || !strings.Contains(err.Error(), test.fault) {
					t.Errorf("the error is %v, want %q", err, test.fault)
				}
				return
			}
			if err != nil || string(got) != test.want {
				t.Errorf("the text is %v\n%s\nwant\n%s", err, got, test.want)
			}
		})
	}
}
