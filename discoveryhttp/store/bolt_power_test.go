package store_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spanmesh/span/discoveryhttp/store"
	"github.com/spanmesh/span/discoveryhttp/store/storetest"
)

// TestBoltLosesPower has any of the sectors on disk that a change writes: of its pages, and after
// these of the page that says which change was the last. A disk writes a sector whole or not at
// all. What was acknowledged is there, and the file is never taken for a damaged one.
func TestBoltLosesPower(t *testing.T) {
	const sector = 512
	path := filepath.Join(t.TempDir(), "db")
	s := openBolt(t, path)
	random := rand.New(rand.NewPCG(1, 2))
	metas := 2 * os.Getpagesize()
	for i := range 6 {
		storetest.Update(t, s, "c", fmt.Sprint("a", i), strings.Repeat("x", 500), storetest.In(30))
		before, old := readFile(t, path), storetest.List(t, s, "c")
		storetest.Update(t, s, "c", fmt.Sprint("b", i), strings.Repeat("y", 500), storetest.In(30))
		after, changed := readFile(t, path), storetest.List(t, s, "c")
		// The file gets its size before anything is written into what is new of it.
		before = append(before, make([]byte, len(after)-len(before))...)
		written := func(from, to int, into []byte, chance func() bool) []byte {
			into = bytes.Clone(into)
			for at := from; at < to; at += sector {
				if chance() {
					copy(into[at:at+sector], after[at:])
				}
			}
			return into
		}
		sometimes := func() bool { return random.IntN(2) == 0 }
		for range 10 {
			expectOpens(t, written(metas, len(after), before, sometimes), old)
			pages := written(metas, len(after), before, func() bool { return true })
			expectOpens(t, written(0, metas, pages, sometimes), old, changed)
		}
	}
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// expectOpens expects a file to have either of some contents.
func expectOpens(t *testing.T, raw []byte, contents ...[]string) {
	t.Helper()
	s, err := store.OpenBolt(write(t, raw), store.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	got := storetest.List(t, s, "c")
	closeBolt(t, s)
	if !slices.ContainsFunc(contents, func(want []string) bool { return slices.Equal(got, want) }) {
		t.Errorf("the file has %d affiliates", len(got))
	}
}

// TestBoltIsCreatedWhole looks at files while they are created: whatever a loss of power leaves at
// their place is none, or one that can be opened.
func TestBoltIsCreatedWhole(t *testing.T) {
	for range 100 {
		path := filepath.Join(t.TempDir(), "db")
		done, least := make(chan struct{}), make(chan int64)
		go func() {
			size := int64(1 << 62)
			for {
				if info, err := os.Stat(path); err == nil {
					size = min(size, info.Size())
				}
				select {
				case <-done:
					least <- size
					return
				default:
				}
			}
		}()
		s := openBolt(t, path)
		close(done)
		if size := <-least; size < int64(4*os.Getpagesize()) {
			t.Fatalf("there was a file of %d bytes", size)
		}
		closeBolt(t, s)
		if files, err := os.ReadDir(filepath.Dir(path)); err != nil || len(files) != 1 {
			t.Fatalf("there are %v, %v", files, err)
		}
	}
}
