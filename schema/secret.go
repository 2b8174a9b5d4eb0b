package schema

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"

	"cuelang.org/go/cue"
)

// Secret is a secret, or where it is kept. It prints as "(hidden)" through fmt, slog
// and encoding/json alike. Secrets are compared with ==.
type Secret struct {
	text string
	from SecretSource
}

// SecretSource is a place outside of the config where a secret is kept. One field is
// set; none, where the config has the secret itself.
type SecretSource struct {
	// File is the absolute path of a file.
	File string `json:"file,omitempty"`
	// Env is the name of an environment variable.
	Env string `json:"env,omitempty"`
	// Credential is the name of a systemd credential (systemd.exec(5), LoadCredential=).
	Credential string `json:"credential,omitempty"`
}

func (s SecretSource) String() string {
	switch {
	case s.File != "":
		return "file " + s.File
	case s.Env != "":
		return "environment variable " + s.Env
	default:
		return "credential " + s.Credential
	}
}

// SecretText is a secret of that text.
func SecretText(text string) Secret { return Secret{text: text} }

// hidden is what stands in for a secret, whatever is asked to print it.
const hidden = "(hidden)"

// Reveal returns the text of the secret, "" for one that was not read yet.
func (s Secret) Reveal() string { return s.text }

// IsZero tells that there is no secret.
func (s Secret) IsZero() bool { return s == Secret{} }

// From is where the secret is kept outside of the config; the zero value if it is not.
func (s Secret) From() SecretSource { return s.from }

var (
	_ json.Unmarshaler = (*Secret)(nil)
	_ json.Marshaler   = Secret{}
)

// UnmarshalJSON reads a text, or a SecretSource.
func (s *Secret) UnmarshalJSON(data []byte) error {
	*s = Secret{}
	if len(data) > 0 && data[0] == '{' {
		return json.Unmarshal(data, &s.from)
	}
	return json.Unmarshal(data, &s.text)
}

// MarshalJSON writes where the secret is kept, and "(hidden)" where that is the config.
func (s Secret) MarshalJSON() ([]byte, error) {
	if s.from != (SecretSource{}) {
		return json.Marshal(s.from)
	}
	return json.Marshal(s.String())
}

// Format prints "(hidden)" for every verb: without it %x would print the text.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

func (s Secret) String() string {
	if s.IsZero() {
		return ""
	}
	return hidden
}

// LogValue implements slog.LogValuer.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// Key decodes the 32 bytes that the secret stands for. Both base64 alphabets
// are taken. Load refuses a secret for which this fails.
func (s Secret) Key() ([32]byte, error) {
	if s.text == "" && s.from != (SecretSource{}) {
		return [32]byte{}, errors.New("was not read from its " + s.from.String())
	}
	return decodeKey(s.text)
}

// revealed is a secret as a config has it.
func (s Secret) revealed() any {
	if s.from != (SecretSource{}) {
		return s.from
	}
	return s.text
}

// Revealed is the config for encoding/json, with the secrets that are in it.
func (c *Config) Revealed() any {
	type peer struct {
		StaticPeer
		PresharedKey any `json:"presharedKey"`
	}
	peers := make([]peer, len(c.Cluster.Discovery.Registries.Static.Peers))
	for i, p := range c.Cluster.Discovery.Registries.Static.Peers {
		peers[i] = peer{p, p.PresharedKey.revealed()}
	}
	type registries struct {
		Registries
		Static struct {
			Peers []peer `json:"peers"`
		} `json:"static"`
	}
	type discovery struct {
		Discovery
		Registries registries `json:"registries"`
	}
	type cluster struct {
		Cluster
		Secret    any       `json:"secret"`
		Discovery discovery `json:"discovery"`
	}
	all := registries{Registries: c.Cluster.Discovery.Registries}
	all.Static.Peers = peers
	return struct {
		Machine Machine `json:"machine"`
		Cluster cluster `json:"cluster"`
	}{c.Machine, cluster{c.Cluster, c.Cluster.Secret.revealed(), discovery{c.Cluster.Discovery, all}}}
}

// ReadSecret reads a secret that is kept outside of the config.
type ReadSecret func(SecretSource) (string, error)

// readSecrets reads those that are kept outside of the config.
func (s *source) readSecrets(config *Config, read ReadSecret) Problems {
	var problems Problems
	one := func(path string, secret *Secret) {
		if secret.from == (SecretSource{}) {
			return
		}
		text, err := read(secret.from)
		text = strings.TrimSpace(text)
		if err == nil {
			if _, err = decodeKey(text); err != nil {
				err = fmt.Errorf("what it holds %w", err)
			}
		}
		if err == nil {
			secret.text = text
			return
		}
		p := Problem{File: s.name, Path: path, Value: secret.from.String(), Reason: scrub(err.Error()), Want: fields()[general(path)].want}
		s.at(&p, s.position(s.user.LookupPath(cue.ParsePath(path)), nil))
		problems = append(problems, p)
	}
	one(pathSecret, &config.Cluster.Secret)
	peers := config.Cluster.Discovery.Registries.Static.Peers
	for i := range peers {
		one(pathPeers+"["+strconv.Itoa(i)+"].presharedKey", &peers[i].PresharedKey)
	}
	return problems
}

// general is the schema's path for one as people write it: a.b[0].c.
func general(path string) string {
	before, rest, found := strings.Cut(path, "[")
	if !found {
		return path
	}
	_, after, _ := strings.Cut(rest, "]")
	return before + "." + element + after
}
