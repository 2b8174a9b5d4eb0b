package schema

import (
	"encoding/base64"
	"fmt"
	"io"
	"strings"
	"text/template"

	"cuelang.org/go/cue/format"
)

// Secrets is what the machines of one cluster share.
type Secrets struct {
	ID     string
	Secret Secret
}

// GenerateSecrets makes a cluster ID and secret from 64 bytes of random, which
// is crypto/rand.Reader outside of tests.
func GenerateSecrets(random io.Reader) (Secrets, error) {
	var raw [2 * keyLength]byte
	if _, err := io.ReadFull(random, raw[:]); err != nil {
		return Secrets{}, fmt.Errorf("read randomness for the cluster secrets: %w", err)
	}
	return Secrets{
		ID:     base64.StdEncoding.EncodeToString(raw[:keyLength]),
		Secret: SecretText(base64.StdEncoding.EncodeToString(raw[keyLength:])),
	}, nil
}

// Blueprint says what Generate writes.
type Blueprint struct {
	Secrets Secrets
	// KubeSpan enables the mesh.
	KubeSpan bool
	// DiscoveryEndpoint is the URL of the discovery service; empty leaves the
	// default of the schema.
	DiscoveryEndpoint string
}

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
		// Find the other machines of the cluster.
		enabled: true
{{- if .DiscoveryEndpoint}}

		registries: service: endpoint: {{printf "%q" .DiscoveryEndpoint}}
{{- end}}
	}
}
`))

// Generate writes a machine config in the format that name's extension tells,
// CUE for any other name, and checks that Load accepts it.
func Generate(name string, b Blueprint) ([]byte, error) {
	var text strings.Builder
	if err := configTemplate.Execute(&text, b); err != nil {
		return nil, fmt.Errorf("write the config: %w", err)
	}
	out, err := convert(name, []byte(strings.TrimLeft(text.String(), "\n")))
	if err != nil {
		return nil, err
	}
	if formatOf(name) == FormatYAML {
		// Editors with a YAML language server check and complete by this.
		out = append([]byte("# yaml-language-server: $schema="+JSONSchemaURL+"\n"), out...)
	}
	if _, err := Load(name, out); err != nil {
		return nil, fmt.Errorf("the generated config is not valid: %w", err)
	}
	return out, nil
}

// EncodeSecrets writes the secrets as the part of a machine config that holds
// them, in the format that name's extension tells, CUE for any other name.
func EncodeSecrets(name string, s Secrets) ([]byte, error) {
	text := fmt.Sprintf("// Secrets of a spanctl cluster: keep this file private.\ncluster: {\n\tid: %q\n\tsecret: %q\n}\n",
		s.ID, s.Secret.Reveal())
	return convert(name, []byte(text))
}

// DecodeSecrets reads what EncodeSecrets wrote, or any config that holds an ID
// and a secret.
func DecodeSecrets(name string, data []byte) (Secrets, error) {
	config, err := LoadFragment(name, data)
	if err != nil {
		return Secrets{}, err
	}
	if config.Cluster.ID == "" || config.Cluster.Secret.Reveal() == "" {
		return Secrets{}, Problems{{File: name, Path: "cluster", Reason: "holds no id and secret",
			Want: "a file that `spanctl gen secrets` wrote"}}
	}
	return Secrets{ID: config.Cluster.ID, Secret: config.Cluster.Secret}, nil
}

// convert turns CUE source into the format of name.
func convert(name string, source []byte) ([]byte, error) {
	switch formatOf(name) {
	case FormatYAML:
		return toYAML(source)
	case FormatJSON:
		return toJSON(source)
	default:
		return format.Source(source, format.Simplify())
	}
}
