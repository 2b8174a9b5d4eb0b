package store_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/spanmesh/span/discoveryhttp/store"
	"github.com/spanmesh/span/discoveryhttp/store/storetest"
)

// TestBoltKeepsInvitations over a crash: what was taken stays counted, what was revoked stays away,
// and what has expired is known for a day.
func TestBoltKeepsInvitations(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	s := openBolt(t, path)
	for name := byte(1); name <= 3; name++ {
		storetest.Invite(t, s, storetest.NewInvitation(name, 1, 2))
	}
	storetest.ExpectTake(t, s, 1, 1, storetest.In(1), nil)
	if err := s.RevokeInvitation(t.Context(), store.OwnerHash{1}, store.InvitationName{2}); err != nil {
		t.Fatal(err)
	}
	path = crash(t, path)
	s = openBolt(t, path)
	storetest.ExpectTake(t, s, 1, 1, storetest.In(2), nil)
	storetest.ExpectTake(t, s, 1, 2, storetest.In(2), nil)
	storetest.ExpectTake(t, s, 1, 3, storetest.In(2), &store.EndedError{Used: true})
	storetest.ExpectTake(t, s, 2, 1, storetest.In(2), store.ErrNoInvitation)
	expire(t, s, storetest.In(60))
	closeBolt(t, s)
	s = openBolt(t, path)
	storetest.ExpectTake(t, s, 3, 1, storetest.In(60), &store.EndedError{})
	expire(t, s, storetest.In(60).Add(24*time.Hour))
	storetest.ExpectTake(t, s, 3, 1, storetest.In(60), store.ErrNoInvitation)
}

// FuzzDecodeInvitation decodes arbitrary records, and those that it decodes are encoded the same.
func FuzzDecodeInvitation(f *testing.F) {
	i := storetest.NewInvitation(1, 1, 2)
	i.Takers = []store.RequestID{{1}, {2}}
	encoded, err := store.EncodeInvitation(i)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(i.Name[:], encoded)
	f.Add([]byte{}, []byte{10, 1, 1})
	f.Fuzz(func(t *testing.T, name, encoded []byte) {
		i, err := store.DecodeInvitation(name, encoded)
		if err != nil {
			return
		}
		again, err := store.EncodeInvitation(i)
		if err != nil {
			t.Fatal(err)
		}
		if same, err := store.DecodeInvitation(name, again); err != nil || len(same.Takers) != len(i.Takers) || !same.Expires.Equal(i.Expires) {
			t.Errorf("%+v is decoded as %+v, %v", i, same, err)
		}
	})
}

// TestBoltInvitationDamaged changes a byte of each of the records of an invitation.
func TestBoltInvitationDamaged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	s := openBolt(t, path)
	i := storetest.NewInvitation(7, 1, 2)
	for n := range i.Sealed {
		i.Sealed[n] = 0xa5
	}
	i.Owner = store.OwnerHash(bytes.Repeat([]byte{0xb6}, 32))
	storetest.Invite(t, s, i)
	closeBolt(t, s)
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for what, value := range map[string]byte{"what is sealed": 0xa5, "the owner": 0xb6} {
		pattern := bytes.Repeat([]byte{value}, 32)
		if !bytes.Contains(raw, pattern) {
			t.Fatalf("%s is not in the file", what)
		}
		damaged := bytes.ReplaceAll(raw, pattern, append([]byte{value + 1}, pattern[1:]...))
		_, err := store.CheckBolt(t.Context(), write(t, damaged))
		if _, ok := errors.AsType[*store.DamageError](err); !ok {
			t.Errorf("%s is damaged: %v", what, err)
		}
	}
}
