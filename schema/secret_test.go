package schema

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

const testSecret = "dAmFcyNmDXusqnTSkPJrsgLJ38W8oEEXGZKM0x6Orpc="

func TestSecretPrintsHidden(t *testing.T) {
	secret := SecretText(testSecret)
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("loaded", "secret", secret, "config", Config{Cluster: Cluster{Secret: secret}})
	encoded, err := json.Marshal(struct{ S Secret }{secret})
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{fmt.Sprint(secret), fmt.Sprintf("%v %+v %#v %s %q", secret, secret, secret, secret, secret),
		fmt.Sprintf("%+v", Config{Cluster: Cluster{Secret: secret}}), log.String(), string(encoded)} {
		if strings.Contains(text, testSecret) {
			t.Errorf("shows the secret: %s", text)
		}
	}
}
