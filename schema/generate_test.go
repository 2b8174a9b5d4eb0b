package schema

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestGeneratedFilesAreValid(t *testing.T) {
	secrets, err := GenerateSecrets(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, extension := range Extensions {
		t.Run(extension, func(t *testing.T) {
			file, err := EncodeSecrets("secrets"+extension, secrets)
			if err != nil {
				t.Fatal(err)
			}
			again, err := DecodeSecrets("secrets"+extension, file)
			if err != nil {
				t.Fatal(err)
			}
			if again != secrets {
				t.Error("the secrets changed on the way through a file")
			}
			name := "machine" + extension
			text, err := Generate(name, Blueprint{Secrets: again, KubeSpan: true, DiscoveryEndpoint: "http://127.0.0.1:3000"})
			if err != nil {
				t.Fatal(err)
			}
			config, err := Load(name, text)
			if err != nil {
				t.Fatal(err)
			}
			if !config.KubeSpan().Enabled || config.Cluster.ID != secrets.ID || config.Cluster.Secret != secrets.Secret ||
				config.Cluster.Discovery.Registries.Service.Endpoint != "http://127.0.0.1:3000" {
				t.Errorf("the config lost something: %+v", config)
			}
		})
	}
}

func TestGenerateRefusesABadEndpoint(t *testing.T) {
	secrets, err := GenerateSecrets(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Generate("machine.cue", Blueprint{Secrets: secrets, DiscoveryEndpoint: "discovery.example.com"})
	if err == nil || !strings.Contains(err.Error(), "not a URL") {
		t.Errorf("got %v", err)
	}
}

func TestGenerateSecretsNeedsRandomness(t *testing.T) {
	if _, err := GenerateSecrets(bytes.NewReader(make([]byte, 63))); err == nil {
		t.Error("made secrets from too little randomness")
	}
}

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
