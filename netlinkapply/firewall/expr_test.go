package firewall

import (
	"testing"

	"github.com/google/nftables/userdata"
)

func TestComment(t *testing.T) {
	other := userdata.Append(nil, userdata.TypeEbtablesPolicy, []byte{1, 2})
	for _, c := range []struct {
		name string
		data []byte
		want string
	}{
		{"no data", nil, ""},
		{"a comment", userdata.AppendString(nil, userdata.TypeComment, "drop loop"), "drop loop"},
		{"a comment after other data", userdata.AppendString(other, userdata.TypeComment, "drop loop"), "drop loop"},
		{"other data", other, ""},
		{"a length without data", []byte{byte(userdata.TypeEbtablesPolicy), 9}, ""},
		{"a type without a length", []byte{byte(userdata.TypeEbtablesPolicy)}, ""},
	} {
		if got := comment(c.data); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
	if got := comment([]byte{byte(userdata.TypeComment), 200, 'x'}); got == "x" {
		t.Error("a comment that is cut off reads like a whole one")
	}
}
