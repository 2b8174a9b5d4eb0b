package payload

import "testing"

// TestMemberToken has an answer of Python's hmac, for a secret of the bytes 0 to 31:
//
//	prk = hmac(32 zeros, secret); token = hmac(prk, info + b"\x01")
//
// in URL-safe base64 without padding, where info is the label, a zero and the ID.
func TestMemberToken(t *testing.T) {
	var secret [32]byte
	for i := range secret {
		secret[i] = byte(i)
	}
	if got, err := MemberToken(secret, "cluster"); err != nil || got != "NJFgckYvJijmLHonWazQq-a4yNwYcwkiEC7TvY-k-IY" {
		t.Errorf("got %s, %v", got, err)
	}
	other, err := MemberToken(secret, "another")
	if err != nil || other == "NJFgckYvJijmLHonWazQq-a4yNwYcwkiEC7TvY-k-IY" {
		t.Errorf("another cluster has the token %s, %v", other, err)
	}
}
