package store

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.etcd.io/bbolt"
)

// contents returns the affiliates and pins of a memory.
func contents(m *Memory) map[string]string {
	all := map[string]string{}
	for id, c := range m.clusters {
		for affiliate, e := range c.entries {
			data, endpoints := e.affiliate(affiliate).Parts()
			all[id+"/"+affiliate] = fmt.Sprintf("%s %s %v", data, endpoints, e.lives)
		}
		if c.pin.hash != nil {
			all[id] = string(c.pin.hash)
		}
	}
	for name, i := range m.invitations.byName {
		all[string(name[:])] = fmt.Sprint(i.Takers, i.Uses, i.Expires.Unix(), string(i.Sealed))
	}
	return all
}

// reopened returns what a copy of a store's file has.
func reopened(t *testing.T, path string) map[string]string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(t.TempDir(), "db")
	if err := os.WriteFile(copied, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	m := NewMemory(Limits{})
	j, err := openJournal(copied, m)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = j.close() }()
	return contents(m)
}

// TestJournalAgreesWithMemory makes changes at random. Some writes report failure: of these,
// some are not on disk, and some are. After each write that succeeds, the file has what the
// memory has.
func TestJournalAgreesWithMemory(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint("seed", seed), func(t *testing.T) { walk(t, rand.New(rand.NewPCG(seed, 0))) })
	}
}

func walk(t *testing.T, random *rand.Rand) {
	path := filepath.Join(t.TempDir(), "db")
	m := NewMemory(Limits{Endpoints: 4, Affiliates: 40})
	j, err := openJournal(path, m)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = j.close() }()
	now := time.Unix(1_000_000, 0)
	for step := range 600 {
		now = now.Add(time.Duration(random.IntN(20)) * time.Second)
		for range 1 + random.IntN(20) {
			change(random, m, now)
		}
		switch random.IntN(6) {
		case 0:
			fail(t, j, m, false)
		case 1:
			fail(t, j, m, true)
		default:
			if err := j.commit(m); err != nil {
				t.Fatal(err)
			}
			m.apply()
			if step%20 == 0 {
				expectSame(t, reopened(t, path), contents(m))
			}
		}
	}
	if j.records > uint64(3*len(contents(m))+2*spareRecords) {
		t.Errorf("the journal has %d records of %d", j.records, len(contents(m)))
	}
}

// change stages a change.
func change(random *rand.Rand, m *Memory, now time.Time) {
	cluster, id := fmt.Sprint("c", random.IntN(5)), fmt.Sprint(random.IntN(50))
	u := Update{ID: id, Now: now, TTL: time.Duration(random.IntN(600)) * time.Second}
	switch random.IntN(10) {
	case 0:
		m.remove(cluster, id)
		return
	case 1:
		m.expire(now)
		return
	case 3:
		invite(random, m, now)
		return
	case 2:
		u.Token = []byte("one")
	}
	if random.IntN(3) > 0 {
		u.Data = fmt.Append(nil, random.IntN(1000))
	}
	for range random.IntN(4) {
		u.Endpoints = append(u.Endpoints, fmt.Append(nil, "e", random.IntN(20)))
	}
	_ = m.update(cluster, u)
}

// invite stages a change of an invitation.
func invite(random *rand.Rand, m *Memory, now time.Time) {
	name := InvitationName{byte(random.IntN(10))}
	switch random.IntN(3) {
	case 0:
		sealed := fmt.Append(nil, random.IntN(1000))
		_ = m.invitations.create(&Invitation{Name: name, Created: now, Expires: now.Add(time.Hour), Uses: 5, Sealed: sealed, Size: len(sealed)})
	case 1:
		_, _ = m.invitations.take(name, RequestID{byte(random.IntN(10))}, now)
	default:
		if random.IntN(3) == 0 {
			_ = m.invitations.revoke(OwnerHash{}, name)
		}
	}
}

// fail is a commit that reports failure. What was staged is forgotten.
func fail(t *testing.T, j *journal, m *Memory, onDisk bool) {
	t.Helper()
	w := &write{journal: j, memory: m, last: j.last, records: j.records, written: map[recordID]struct{}{}}
	j.buffer = j.buffer[:0]
	err := j.db.Update(func(tx *bbolt.Tx) error {
		if err := w.run(tx, m.clock.latest); err != nil || onDisk {
			return err
		}
		return os.ErrDeadlineExceeded
	})
	if onDisk && err != nil {
		t.Fatal(err)
	}
	w.failed()
	m.discard()
}

func expectSame(t *testing.T, got, want map[string]string) {
	t.Helper()
	if maps.Equal(got, want) {
		return
	}
	for _, key := range slices.Sorted(maps.Keys(want)) {
		if got[key] != want[key] {
			t.Errorf("%s is %q, want %q", key, got[key], want[key])
		}
	}
	for key := range got {
		if _, ok := want[key]; !ok {
			t.Errorf("%s is there", key)
		}
	}
	t.FailNow()
}
