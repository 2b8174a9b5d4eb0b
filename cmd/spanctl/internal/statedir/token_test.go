package statedir

import (
	"os"
	"path/filepath"
	"testing"
)

func TestAPIToken(t *testing.T) {
	d := open(t, t.TempDir())
	token := func() string {
		t.Helper()
		path, err := d.APIToken()
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Fatalf("the file is %v, %v", info, err)
		}
		data, err := os.ReadFile(path)
		if err != nil || len(data) != 44 {
			t.Fatalf("it has %d bytes, %v; want 43 characters and a line's end", len(data), err)
		}
		return string(data)
	}
	first := token()
	if again := token(); again != first {
		t.Error("the token is another one each time")
	}
	if err := os.Remove(filepath.Join(d.path, tokenFile)); err != nil {
		t.Fatal(err)
	}
	if token() == first {
		t.Error("after its removal the token is the same")
	}
}
