package invitation

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/spanmesh/span/discoveryhttp/store"
)

const (
	// keySize is the length of a key, in bytes.
	keySize = 32
	// MaxConfig is the length of the longest config that is sealed, in bytes.
	MaxConfig = 64 << 10
	// maxSealed is that of what is opened.
	maxSealed = MaxConfig + 64
)

// Key is the secret of an invitation. It prints as "(hidden)".
type Key struct{ raw [keySize]byte }

// NewKey returns a random key.
func NewKey() Key {
	var k Key
	_, _ = rand.Read(k.raw[:]) // it never returns an error
	return k
}

const hidden = "(hidden)"

// Format prints "(hidden)" for every verb.
func (Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// String returns "(hidden)".
func (Key) String() string { return hidden }

// LogValue implements slog.LogValuer.
func (Key) LogValue() slog.Value { return slog.StringValue(hidden) }

// derive returns bytes for a purpose. HKDF fails only for lengths beyond 255 hashes.
func derive(secret []byte, purpose string, length int) []byte {
	raw, _ := hkdf.Key(sha256.New, secret, nil, "spanctl invitation "+purpose, length)
	return raw
}

// Name returns the name of the invitation at a server, from which the key cannot be found.
func (k Key) Name() store.InvitationName {
	return store.InvitationName(derive(k.raw[:], "name", len(store.InvitationName{})))
}

// ClusterTag is the hash of a cluster's ID with a key.
type ClusterTag [8]byte

// Cluster returns the tag of a cluster.
func (k Key) Cluster(id string) ClusterTag {
	return ClusterTag(derive(k.raw[:], "cluster\x00"+id, len(ClusterTag{})))
}

// aead returns the cipher of the invitation, and what it binds beside the contents.
func (k Key) aead() (aead cipher.AEAD, bound []byte, err error) {
	block, err := aes.NewCipher(derive(k.raw[:], "seal", keySize))
	if err != nil {
		return nil, nil, err
	}
	name := k.Name()
	aead, err = cipher.NewGCMWithRandomNonce(block)
	return aead, append([]byte{version}, name[:]...), err
}

// Seal encrypts a config of at most MaxConfig bytes.
func (k Key) Seal(config []byte) ([]byte, error) {
	if len(config) > MaxConfig {
		return nil, fmt.Errorf("the config for the new machine has %d bytes: want at most %d", len(config), MaxConfig)
	}
	aead, bound, err := k.aead()
	if err != nil {
		return nil, fmt.Errorf("seal an invitation: %w", err)
	}
	return aead.Seal(nil, nil, config, bound), nil
}

// ErrSealed is the error of contents that were not sealed with the key, or were changed since.
var ErrSealed = errors.New("the invitation cannot be opened with the line: the server has changed it, or the line is for another server")

// Open is the inverse of Seal.
func (k Key) Open(sealed []byte) ([]byte, error) {
	if len(sealed) > maxSealed {
		return nil, fmt.Errorf("the invitation has %d bytes: want at most %d", len(sealed), maxSealed)
	}
	aead, bound, err := k.aead()
	if err != nil {
		return nil, fmt.Errorf("open an invitation: %w", err)
	}
	config, err := aead.Open(nil, nil, sealed, bound)
	if err != nil {
		return nil, ErrSealed
	}
	return config, nil
}

// RequestID returns the ID of the request of a machine that has chosen a random secret: with the
// same, it counts once however often it is made.
func (k Key) RequestID(machine [keySize]byte) store.RequestID {
	return store.RequestID(derive(append(machine[:], k.raw[:]...), "request", len(store.RequestID{})))
}

// OwnerToken returns the token with which the machines of a cluster list and revoke its
// invitations. It does not reveal the cluster's secret.
func OwnerToken(secret [32]byte, clusterID string) []byte {
	return derive(secret[:], "owner\x00"+clusterID, sha256.Size)
}
