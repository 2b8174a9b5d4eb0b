package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"go.etcd.io/bbolt"
)

// The buckets of invitations, by their names: records without what is sealed, and that.
var (
	invitationsBucket = []byte("invitations")
	sealedBucket      = []byte("sealed")
)

// putInvitations writes the invitations that were changed since the last commit, and those that a
// commit which failed was about.
func (w *write) putInvitations(tx *bbolt.Tx) error {
	changed := w.memory.invitations.before
	if len(changed) == 0 && len(w.suspectInvitations) == 0 {
		return nil
	}
	records, err := tx.CreateBucketIfNotExists(invitationsBucket)
	if err != nil {
		return err
	}
	sealed, err := tx.CreateBucketIfNotExists(sealedBucket)
	if err != nil {
		return err
	}
	for name, before := range changed {
		w.invitations = append(w.invitations, name)
		if _, suspect := w.suspectInvitations[name]; suspect {
			before = nil // it is not known what is on disk
		}
		if err := putInvitation(records, sealed, name, before, w.memory.invitations.byName[name]); err != nil {
			return err
		}
	}
	for name := range w.suspectInvitations {
		if _, done := changed[name]; !done {
			if err := putInvitation(records, sealed, name, nil, w.memory.invitations.byName[name]); err != nil {
				return err
			}
		}
	}
	return nil
}

// putInvitation writes what an invitation is now, nil for none. Before is what is on disk, nil for
// none, or if that is not known.
func putInvitation(records, sealed *bbolt.Bucket, name InvitationName, before, after *Invitation) error {
	if after == nil {
		return errors.Join(records.Delete(name[:]), sealed.Delete(name[:]))
	}
	encoded, err := EncodeInvitation(after)
	if err != nil {
		return err
	}
	if err := records.Put(name[:], withSum(name[:], encoded)); err != nil {
		return err
	}
	switch {
	case after.Size == 0:
		return sealed.Delete(name[:])
	case before == nil || !bytes.Equal(before.Sealed, after.Sealed):
		return sealed.Put(name[:], withSum(name[:], after.Sealed))
	}
	return nil
}

// withSum returns a value that begins with a checksum of its key and itself.
func withSum(key, value []byte) []byte {
	out := binary.BigEndian.AppendUint32(make([]byte, 0, sumSize+len(value)), sumOf(key, value))
	return append(out, value...)
}

func sumOf(key, value []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value)
}

// withoutSum is the inverse of withSum. The result is a copy.
func withoutSum(key, value []byte) ([]byte, error) {
	if len(value) < sumSize || binary.BigEndian.Uint32(value) != sumOf(key, value[sumSize:]) {
		return nil, fmt.Errorf("invitation %x has a wrong checksum", key)
	}
	return append([]byte{}, value[sumSize:]...), nil
}

// readInvitations reads the invitations of a file, which one of an older version does not have.
func readInvitations(tx *bbolt.Tx, m *Memory) error {
	records, sealed := tx.Bucket(invitationsBucket), tx.Bucket(sealedBucket)
	if records == nil || sealed == nil {
		return nil
	}
	return records.ForEach(func(name, value []byte) error {
		encoded, err := withoutSum(name, value)
		if err != nil {
			return err
		}
		i, err := DecodeInvitation(name, encoded)
		if err != nil {
			return err
		}
		if i.Size > 0 {
			if i.Sealed, err = withoutSum(name, sealed.Get(name)); err != nil {
				return err
			}
			if len(i.Sealed) != i.Size {
				return fmt.Errorf("invitation %x seals %d bytes, want %d", name, len(i.Sealed), i.Size)
			}
		}
		m.invitations.byName[i.Name] = i
		return nil
	})
}
