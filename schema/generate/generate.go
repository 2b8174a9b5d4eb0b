// Package generate writes new machine configs and cluster secrets.
package generate

import (
	"encoding/base64"
	"fmt"
	"io"
	"strings"
	"text/template"

	"github.com/spanmesh/span/schema"
	"github.com/spanmesh/span/schema/internal/encode"
	"github.com/spanmesh/span/schema/load"
)

// Secrets are the ID and the secret that the machines of one cluster share.
type Secrets struct {
	// ID is base64.
	ID string
	// Secret is base64.
	Secret schema.Secret
}

// NewSecrets returns a new ID and secret from 64 bytes of random. Outside of tests, random is
// crypto/rand.Reader.
func NewSecrets(random io.Reader) (Secrets, error) {
	var raw [2 * schema.KeyLength]byte
	if _, err := io.ReadFull(random, raw[:]); err != nil {
		return Secrets{}, fmt.Errorf("read randomness for the cluster secrets: %w", err)
	}
	return Secrets{
		ID:     base64.StdEncoding.EncodeToString(raw[:schema.KeyLength]),
		Secret: schema.SecretText(base64.StdEncoding.EncodeToString(raw[schema.KeyLength:])),
	}, nil
}

// Blueprint describes a new config.
type Blueprint struct {
	// Secrets are the ID and the secret of the cluster.
	Secrets Secrets
	// KubeSpan enables the mesh.
	KubeSpan bool
	// DiscoveryEndpoint is the URL of the discovery service. If it is empty, the default of the
	// schema holds.
	DiscoveryEndpoint string
}

// configTemplate has KubeSpan first and what KubeSpan needs last: no part of the file is a config that
// takes a mesh down, or lets a machine look for it elsewhere.
var configTemplate = template.Must(template.New("config").Parse(`
// Machine config of spanctl. Check it with: spanctl validate -f FILE
machine: network: kubespan: {
	// Join the WireGuard mesh of the cluster.
	enabled: {{.KubeSpan}}
}

// The same on every machine of the cluster.
cluster: {
	// Globally unique identifier of the cluster.
	id: {{printf "%q" .Secrets.ID}}

	// Shared secret of the cluster: keep this file private.
	secret: {{printf "%q" .Secrets.Secret.Reveal}}

	discovery: {
{{- if .DiscoveryEndpoint}}
		registries: service: endpoint: {{printf "%q" .DiscoveryEndpoint}}

{{end}}
		// Find the other machines of the cluster.
		enabled: true
	}
}
`))

// Config returns a machine config in the format of name. It is one that package load accepts.
func Config(name string, b Blueprint) ([]byte, error) {
	var text strings.Builder
	if err := configTemplate.Execute(&text, b); err != nil {
		return nil, fmt.Errorf("write the config: %w", err)
	}
	out, err := encode.Convert(name, []byte(strings.TrimLeft(text.String(), "\n")))
	if err != nil {
		return nil, err
	}
	if schema.FormatOf(name) == schema.FormatYAML {
		// Editors with a YAML language server read this line.
		out = append([]byte("# yaml-language-server: $schema="+schema.JSONSchemaURL+"\n"), out...)
	}
	if _, err := load.Config(name, out); err != nil {
		return nil, fmt.Errorf("the generated config is not valid: %w", err)
	}
	return out, nil
}

// EncodeSecrets returns the secrets as a part of a machine config, in the format of name.
func EncodeSecrets(name string, s Secrets) ([]byte, error) {
	text := fmt.Sprintf("// Secrets of a spanctl cluster: keep this file private.\ncluster: {\n\tid: %q\n\tsecret: %q\n}\n",
		s.ID, s.Secret.Reveal())
	return encode.Convert(name, []byte(text))
}

// DecodeSecrets returns the ID and the secret in a part of a machine config.
func DecodeSecrets(name string, data []byte) (Secrets, error) {
	config, err := load.Fragment(name, data)
	if err != nil {
		return Secrets{}, err
	}
	if config.Cluster.ID == "" || config.Cluster.Secret.Reveal() == "" {
		return Secrets{}, schema.Problems{{File: name, Path: "cluster", Reason: "has no id and secret",
			Want: "a file that `spanctl gen secrets` wrote"}}
	}
	return Secrets{ID: config.Cluster.ID, Secret: config.Cluster.Secret}, nil
}
