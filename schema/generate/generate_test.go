package generate

import (
	"bytes"
	"crypto/rand"
	"strings"
	"testing"

	"github.com/spanmesh/span/schema"
	"github.com/spanmesh/span/schema/load"
)

func TestGeneratedFilesAreValid(t *testing.T) {
	secrets, err := NewSecrets(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, extension := range schema.Extensions {
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
			text, err := Config(name, Blueprint{Secrets: again, KubeSpan: true, DiscoveryEndpoint: "http://127.0.0.1:3000"})
			if err != nil {
				t.Fatal(err)
			}
			config, err := load.Config(name, text)
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

func TestConfigRefusesABadEndpoint(t *testing.T) {
	secrets, err := NewSecrets(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Config("machine.cue", Blueprint{Secrets: secrets, DiscoveryEndpoint: "discovery.example.com"})
	if err == nil || !strings.Contains(err.Error(), "not a URL") {
		t.Errorf("got %v", err)
	}
}

func TestNewSecretsNeedsRandomness(t *testing.T) {
	if _, err := NewSecrets(bytes.NewReader(make([]byte, 63))); err == nil {
		t.Error("made secrets from too little randomness")
	}
}
