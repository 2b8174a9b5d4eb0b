package store_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"

	"github.com/spanmesh/span/discoveryhttp/store"
	"github.com/spanmesh/span/discoveryhttp/store/storetest"
	"github.com/spanmesh/span/discoveryhttp/storepb"
)

// TestBoltReadsOlderFiles reads the format of older versions.
func TestBoltReadsOlderFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	writeOlder(t, path)
	for range 2 {
		s := openBolt(t, path)
		storetest.Expect(t, s, "c", "a=1[x y]", "b=[z]")
		storetest.ExpectAdmits(t, s, "c", false, "two")
		storetest.ExpectAdmits(t, s, "pinned", false, "two")
		closeBolt(t, s)
		if stats, err := store.CheckBolt(t.Context(), path); err != nil || stats.Affiliates != 2 || stats.Clusters != 2 {
			t.Errorf("check: %+v, %v", stats, err)
		}
	}
	s := openBolt(t, path)
	storetest.Update(t, s, "c", "b", "2", storetest.In(30))
	storetest.Expect(t, s, "c", "a=1[x y]", "b=2[z]")
}

// TestBoltIsRefusedByOlderVersions reads files as an older version does, which knows no other
// buckets than these. Files of builds that had no guard get one.
func TestBoltIsRefusedByOlderVersions(t *testing.T) {
	readAsOlder := func(path string) error {
		db, err := bbolt.Open(path, 0o600, nil)
		if err != nil {
			return err
		}
		err = db.Update(func(tx *bbolt.Tx) error {
			if _, err := tx.CreateBucketIfNotExists([]byte("clusters")); err != nil {
				return err
			}
			pins, err := tx.CreateBucketIfNotExists([]byte("pins"))
			if err != nil {
				return err
			}
			return pins.ForEach(func(_, raw []byte) error { return proto.Unmarshal(raw, &storepb.Pin{}) })
		})
		return errors.Join(err, db.Close())
	}
	for name, prepare := range map[string]func(t *testing.T, path string){
		"new":           func(*testing.T, string) {},
		"of an older":   writeOlder,
		"without guard": writeUnguarded,
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "db")
			prepare(t, path)
			for range 2 {
				s := openBolt(t, path)
				storetest.Update(t, s, "new", "a", "1", storetest.In(30))
				storetest.Expect(t, s, "new", "a=1[]")
				closeBolt(t, s)
				if err := readAsOlder(path); err == nil {
					t.Error("an older version takes the file for an empty one")
				}
			}
		})
	}
}

// writeUnguarded writes a file as builds did that did not guard it.
func writeUnguarded(t *testing.T, path string) {
	t.Helper()
	closeBolt(t, openBolt(t, path))
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error { return tx.DeleteBucket([]byte("pins")) })
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}

// writeOlder writes a file as older versions did.
func writeOlder(t *testing.T, path string) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().UnixMilli()
	record := func(id string, data []byte, expires int64, endpoints ...string) []byte {
		r := &storepb.Record{Expires: expires}
		var raw [][]byte
		for _, e := range endpoints {
			raw = append(raw, []byte(e))
			r.EndpointExpires = append(r.EndpointExpires, now+60_000)
		}
		r.Affiliate = store.NewAffiliate(id, data, raw).Wire()
		return marshal(t, r)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		clusters, err := tx.CreateBucket([]byte("clusters"))
		if err != nil {
			return err
		}
		pins, err := tx.CreateBucket([]byte("pins"))
		if err != nil {
			return err
		}
		c, err := clusters.CreateBucket([]byte("c"))
		if err != nil {
			return err
		}
		pin := marshal(t, &storepb.Pin{Hash: []byte("one"), Used: now})
		return errors.Join(
			c.Put([]byte("a"), record("a", []byte("1"), now+60_000, "x", "y")), c.Put([]byte("b"), record("b", nil, 0, "z")),
			pins.Put([]byte("c"), pin), pins.Put([]byte("pinned"), pin),
		)
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}

func marshal(t *testing.T, m proto.Message) []byte {
	t.Helper()
	raw, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// filledFile returns a file with many affiliates, and what it has.
func filledFile(t *testing.T) (raw []byte, contents []string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "db")
	s := openBolt(t, path)
	for i := range 300 {
		storetest.Update(t, s, "c", fmt.Sprintf("%03d", i), strings.Repeat("x", 300), storetest.In(30), "x", "y")
	}
	contents = storetest.List(t, s, "c")
	closeBolt(t, s)
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return raw, contents
}

// expectDamage expects a clear error, or everything to be there: what is damaged may be unused.
func expectDamage(t *testing.T, what, path string, contents []string) (damaged bool) {
	t.Helper()
	stats, checkErr := store.CheckBolt(t.Context(), path)
	s, err := store.OpenBolt(path, store.Limits{})
	if err == nil {
		got := storetest.List(t, s, "c")
		if err := errors.Join(checkErr, s.Close()); err != nil {
			t.Errorf("%s: opens, but check says %v", what, err)
		}
		if !slices.Equal(got, contents) || stats.Affiliates != len(contents) {
			t.Errorf("%s: opens with %d affiliates, not those that were stored", what, len(got))
		}
		return false
	}
	var damage *store.DamageError
	if !errors.As(err, &damage) || !errors.As(checkErr, &damage) {
		t.Errorf("%s: open: %v, check: %v", what, err, checkErr)
	}
	for _, want := range []string{path, "--store-reset", "discovery restore"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v does not name %s", what, err, want)
		}
	}
	return true
}

// TestBoltDamaged cuts a file, and flips bytes of it.
func TestBoltDamaged(t *testing.T) {
	raw, contents := filledFile(t)
	for _, size := range []int{1, 100, 4096, 5000, 8192, 16384, len(raw) / 4, len(raw) / 2} {
		if !expectDamage(t, fmt.Sprintf("cut to %d of %d bytes", size, len(raw)), write(t, raw[:size]), contents) {
			t.Errorf("a file of %d of %d bytes is not damaged", size, len(raw))
		}
	}
	random := rand.New(rand.NewPCG(3, 4))
	dir := t.TempDir()
	damaged := 0
	const flips = 400
	for i := range flips {
		flipped := bytes.Clone(raw)
		// Every other one is in the header or among the first elements of a page.
		at := random.IntN(len(raw))
		if i%2 == 0 {
			at = at&^4095 + random.IntN(64)
		}
		flipped[at] ^= byte(1 + random.IntN(255))
		path := filepath.Join(dir, "db")
		if err := os.WriteFile(path, flipped, 0o600); err != nil {
			t.Fatal(err)
		}
		if expectDamage(t, fmt.Sprintf("byte %d is %#x, not %#x", at, flipped[at], raw[at]), path, contents) {
			damaged++
		}
	}
	if damaged < flips/4 {
		t.Errorf("%d of %d flips were noticed", damaged, flips)
	}
	for name, garbage := range map[string][]byte{"text": []byte(strings.Repeat("hello\n", 5000)), "zeros": make([]byte, 1<<16)} {
		if !expectDamage(t, name, write(t, garbage), contents) {
			t.Errorf("a file of %s is not damaged", name)
		}
	}
}

// TestBoltDamagedMetaPage has damage of either of the two pages that the last change is in. bbolt
// would go on from the change before. A copy of that can be made.
func TestBoltDamagedMetaPage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	s := openBolt(t, path)
	storetest.Update(t, s, "c", "a", "1", storetest.In(30))
	storetest.Update(t, s, "c", "b", "2", storetest.In(30))
	raw, err := os.ReadFile(crash(t, path))
	if err != nil {
		t.Fatal(err)
	}
	pageSize := os.Getpagesize()
	var copies []string
	for page := range 2 {
		for _, at := range []int{16, 24, 32, 64, 72} { // magic, page size, root, transaction, checksum
			damaged := bytes.Clone(raw)
			damaged[page*pageSize+at] ^= 0x40
			path := write(t, damaged)
			if !expectDamage(t, fmt.Sprintf("byte %d of page %d", at, page), path, nil) {
				t.Errorf("damage of byte %d of page %d is not noticed", at, page)
			}
		}
		damaged := bytes.Clone(raw)
		damaged[page*pageSize+64] ^= 0x40
		to := filepath.Join(t.TempDir(), "copy")
		if err := store.BackupBolt(t.Context(), write(t, damaged), to); err != nil {
			t.Fatal(err)
		}
		copies = append(copies, strings.Join(storetest.List(t, openBolt(t, to), "c"), " "))
	}
	slices.Sort(copies)
	if want := []string{"a=1[]", "a=1[] b=2[]"}; !slices.Equal(copies, want) {
		t.Errorf("the copies have %q, want %q", copies, want)
	}
}

func TestBoltNamesTheFileThatItCannotOpen(t *testing.T) {
	dir := t.TempDir()
	open := filepath.Join(dir, "open")
	openBolt(t, open)
	for path, want := range map[string]string{
		filepath.Join(dir, "missing", "db"): "open store " + filepath.Join(dir, "missing", "db"),
		dir:                                 "open store " + dir + ": not a file",
		open:                                "open store " + open + ": another process has it open",
	} {
		if _, err := store.OpenBolt(path, store.Limits{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
