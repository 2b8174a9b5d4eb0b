package mesh

import (
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
)

// Fingerprint returns a short name of a cluster, such as "7f3a-91c0": the first 32 bits of the
// HMAC-SHA256 of its ID with its secret. Machines with another ID or another secret have another
// one. It reveals neither.
func Fingerprint(secret [KeySize]byte, clusterID string) string {
	mac := hmac.New(sha256.New, secret[:])
	mac.Write([]byte(clusterID))
	sum := mac.Sum(nil)
	return fmt.Sprintf("%x-%x", sum[:2], sum[2:4])
}
