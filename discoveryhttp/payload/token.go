package payload

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
)

// MemberToken is what a machine shows a discovery server that serves members
// alone. It follows from the cluster's secret by HKDF (RFC 5869) with SHA-256, and
// tells nothing of it.
func MemberToken(secret [32]byte, clusterID string) (string, error) {
	raw, err := hkdf.Key(sha256.New, secret[:], nil, "spanctl discovery member token\x00"+clusterID, sha256.Size)
	if err != nil {
		return "", fmt.Errorf("derive the member token: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(raw), nil
}
