package payload

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
)

// MemberToken returns the bearer token for a discovery server that serves members only. It
// is derived from the cluster secret by HKDF (RFC 5869) with SHA-256, and does not reveal
// it.
func MemberToken(secret [32]byte, clusterID string) (string, error) {
	raw, err := hkdf.Key(sha256.New, secret[:], nil, "spanctl discovery member token\x00"+clusterID, sha256.Size)
	if err != nil {
		return "", fmt.Errorf("derive the member token: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(raw), nil
}
