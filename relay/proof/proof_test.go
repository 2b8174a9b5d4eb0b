package proof_test

import (
	"crypto/ecdh"
	"crypto/rand"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/spanmesh/span/relay/proof"
)

func pair(t testing.TB) (private, public proof.Key) {
	k, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return proof.Key(k.Bytes()), proof.Key(k.PublicKey().Bytes())
}

func TestProof(t *testing.T) {
	private, public := pair(t)
	relayPrivate, relayPublic := pair(t)
	_, other := pair(t)
	now := time.Unix(1_800_000_000, 5)
	made, err := proof.Make(private, relayPublic, "mesh", now)
	if err != nil || len(made) != proof.Size {
		t.Fatal(made, err)
	}
	changed := slices.Clone(made)
	changed[31] ^= 1
	for _, c := range []struct {
		name    string
		member  proof.Key
		cluster string
		at      time.Time
		after   time.Duration
		proof   []byte
		want    error
	}{
		{"as made", public, "mesh", now, 0, made, nil},
		{"a little later", public, "mesh", now, 4 * time.Minute, made, nil},
		{"a clock that is behind", public, "mesh", now, -4 * time.Minute, made, nil},
		{"much later", public, "mesh", now, 6 * time.Minute, made, proof.ErrTime},
		{"much earlier", public, "mesh", now, -6 * time.Minute, made, proof.ErrTime},
		{"another time", public, "mesh", now.Add(time.Second), 0, made, proof.ErrProof},
		{"another cluster", public, "mesh2", now, 0, made, proof.ErrProof},
		{"another member", other, "mesh", now, 0, made, proof.ErrProof},
		{"changed", public, "mesh", now, 0, changed, proof.ErrProof},
		{"cut", public, "mesh", now, 0, made[:31], proof.ErrProof},
		{"none", public, "mesh", now, 0, nil, proof.ErrProof},
	} {
		if err := proof.Check(relayPrivate, c.member, c.cluster, c.at, now.Add(c.after), c.proof); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	if err := proof.Check(relayPrivate, proof.Key{}, "mesh", now, now, made); err == nil {
		t.Error("a key of low order is taken")
	}
	if err := proof.Check(other, public, "mesh", now, now, made); err == nil {
		t.Error("another relay takes the proof")
	}
}

// FuzzCheck takes any proof, key and name: only what the key's owner has made for them is accepted.
func FuzzCheck(f *testing.F) {
	private, public := pair(f)
	relayPrivate, relayPublic := pair(f)
	now := time.Unix(1_800_000_000, 5)
	made, err := proof.Make(private, relayPublic, "mesh", now)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(made, public[:], "mesh", int64(0))
	f.Add(made[:31], make([]byte, 32), "", int64(1)<<62)
	f.Fuzz(func(t *testing.T, sent, member []byte, cluster string, after int64) {
		var key proof.Key
		copy(key[:], member)
		at := now.Add(time.Duration(after))
		if proof.Check(relayPrivate, key, cluster, at, now, sent) == nil && (key != public || cluster != "mesh" || at.Unix() != now.Unix() || !slices.Equal(sent, made)) {
			t.Errorf("the proof %x of %x for %q at %v is accepted", sent, key, cluster, at)
		}
	})
}
