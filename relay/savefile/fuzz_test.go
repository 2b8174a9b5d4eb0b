package savefile

import (
	"bytes"
	"encoding/base64"
	"testing"
)

// FuzzKey takes any content of a file: what is a key is written in the same way.
func FuzzKey(f *testing.F) {
	f.Add([]byte("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"))
	f.Add([]byte("AAAA"))
	f.Fuzz(func(t *testing.T, content []byte) {
		key, ok := parseKey(content)
		if !ok {
			return
		}
		if again, ok := parseKey([]byte(base64.StdEncoding.EncodeToString(key[:]))); !ok || !bytes.Equal(again[:], key[:]) {
			t.Errorf("%q is the key %x, and then %x", content, key, again)
		}
	})
}
