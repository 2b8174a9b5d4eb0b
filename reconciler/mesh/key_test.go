package mesh

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestKeyText(t *testing.T) {
	const text = "NzW8oeIH5rJyY5lefD9WRoHWWRr/Q6DwsDjMX+xKjT4="
	k, err := ParseKey(text)
	if err != nil || k.String() != text || k.IsZero() {
		t.Errorf("got %s, %v", k, err)
	}
	for _, bad := range []string{"", "NzW8", text[:43], text + "=", strings.Replace(text, "N", "!", 1)} {
		if k, err := ParseKey(bad); err == nil || !k.IsZero() {
			t.Errorf("ParseKey(%q) = %v, %v", bad, k, err)
		}
	}
}

// TestPrivateKeyPrintsHidden tries every way to print a value.
func TestPrivateKeyPrintsHidden(t *testing.T) {
	k := SecretKey([KeySize]byte(bytes.Repeat([]byte("B"), KeySize)))
	var log bytes.Buffer
	untimed := func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && a.Key == slog.TimeKey {
			return slog.Attr{} // its digits may be those looked for
		}
		return a
	}
	logger := slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{ReplaceAttr: untimed}))
	logger.Info("key", "k", k, "in", struct{ K PrivateKey }{k})
	encoded, err := json.Marshal(map[string]any{"k": k})
	if err != nil {
		t.Fatal(err)
	}
	texts := []string{log.String(), string(encoded)}
	for _, verb := range "vsdxXqTtbcoUeEfFgG" {
		for _, flags := range []string{"", "+", "#", "0", " "} {
			format := "%" + flags + string(verb)
			texts = append(texts, fmt.Sprintf(format, k), fmt.Sprintf(format, Identity{PrivateKey: k}))
		}
	}
	for _, text := range texts {
		for _, secret := range []string{"BBBB", "66 66", "66,66", "4242", "0x42", k.Reveal()} {
			if strings.Contains(text, secret) {
				t.Errorf("shows the key: %s", text)
			}
		}
	}
}
