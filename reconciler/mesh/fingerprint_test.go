package mesh_test

import (
	"testing"

	"github.com/spanmesh/span/reconciler/mesh"
)

func TestFingerprint(t *testing.T) {
	var secret, other [mesh.KeySize]byte
	copy(secret[:], "Jefe")
	other[31] = 1
	// RFC 4231, section 4.3: HMAC pads the key with zeros.
	const id = "what do ya want for nothing?"
	if got := mesh.Fingerprint(secret, id); got != "5bdc-c146" {
		t.Errorf("the fingerprint is %q", got)
	}
	if mesh.Fingerprint(secret, "other") == mesh.Fingerprint(secret, id) || mesh.Fingerprint(other, id) == mesh.Fingerprint(secret, id) {
		t.Error("another cluster has the same fingerprint")
	}
}
