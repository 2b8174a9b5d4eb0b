package store_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"github.com/spanmesh/span/discoveryhttp/store"
	"github.com/spanmesh/span/discoveryhttp/store/storetest"
	"github.com/spanmesh/span/discoveryhttp/storepb"
)

// openBolt opens a store that is closed when the test ends, if it was not before.
func openBolt(t *testing.T, path string) *store.Bolt {
	t.Helper()
	s, err := store.OpenBolt(path, store.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func closeBolt(t *testing.T, s *store.Bolt) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// crash returns the path of a copy of an open store's file, as it is after a crash.
func crash(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return write(t, raw)
}

func write(t *testing.T, raw []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "db")
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestBoltKeepsEverything over an orderly stop, and over a crash.
func TestBoltKeepsEverything(t *testing.T) {
	for name, next := range map[string]func(t *testing.T, s *store.Bolt, path string) string{
		"stop": func(t *testing.T, s *store.Bolt, path string) string {
			closeBolt(t, s)
			return path
		},
		"crash": func(t *testing.T, _ *store.Bolt, path string) string { return crash(t, path) },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "db")
			s := openBolt(t, path)
			storetest.Update(t, s, "c", "a", "1", storetest.In(30), "x")
			storetest.Update(t, s, "c", "a", "", storetest.In(10), "y")
			if err := storetest.UpdateAs(t, s, "one", "c", "gone", "2", storetest.Start); err != nil {
				t.Fatal(err)
			}
			storetest.Update(t, s, "empty", "a", "3", storetest.In(30))
			for cluster, id := range map[string]string{"c": "gone", "empty": "a"} {
				if err := s.Delete(t.Context(), cluster, id); err != nil {
					t.Fatal(err)
				}
			}
			for range 3 {
				path = next(t, s, path)
				s = openBolt(t, path)
				storetest.Expect(t, s, "c", "a=1[x y]")
				storetest.Expect(t, s, "empty")
				storetest.ExpectAdmits(t, s, "c", false, "two")
			}
		})
	}
}

// TestBoltTimeAway has a store that is away for 31 minutes, and for a year.
func TestBoltTimeAway(t *testing.T) {
	const second = time.Second
	for _, away := range []time.Duration{0, 31 * time.Minute, 365 * 24 * time.Hour} {
		t.Run(away.String(), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "db")
			s := openBolt(t, path)
			storetest.Update(t, s, "c", "a", "1", storetest.In(30), "x")
			storetest.Update(t, s, "c", "a", "", storetest.In(12), "y")
			expire(t, s, storetest.In(10))
			closeBolt(t, s)
			s = openBolt(t, path)
			back := storetest.In(10).Add(away)
			expire(t, s, back)
			storetest.Expect(t, s, "c", "a=1[x y]")
			// What was left, and the longest pause of clients.
			expire(t, s, back.Add(17*time.Minute-second))
			storetest.Expect(t, s, "c", "a=1[x y]")
			expire(t, s, back.Add(17*time.Minute))
			storetest.Expect(t, s, "c", "a=1[x]")
			expire(t, s, back.Add(35*time.Minute-second))
			storetest.Expect(t, s, "c", "a=1[x]")
			expire(t, s, back.Add(35*time.Minute))
			storetest.Expect(t, s, "c")
		})
	}
}

// TestBoltRestartLoop has a store that is restarted every second: that does not extend lives
// without end.
func TestBoltRestartLoop(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	s := openBolt(t, path)
	storetest.Update(t, s, "c", "a", "1", storetest.In(30))
	now := storetest.Start
	for range 100 {
		closeBolt(t, s)
		s = openBolt(t, path)
		now = now.Add(time.Second)
		expire(t, s, now)
	}
	storetest.Expect(t, s, "c", "a=1[]")
	expire(t, s, now.Add(46*time.Minute))
	storetest.Expect(t, s, "c")
}

// TestBoltRestartsOften has a store that serves for some minutes between restarts: what it has
// served counts, so that machines that are gone expire.
func TestBoltRestartsOften(t *testing.T) {
	for name, restart := range map[string]func(t *testing.T, s *store.Bolt, path string) string{
		"stopped": func(t *testing.T, s *store.Bolt, path string) string {
			closeBolt(t, s)
			return path
		},
		"killed": func(t *testing.T, _ *store.Bolt, path string) string { return crash(t, path) },
	} {
		for _, serves := range []int{3, 10, 14} {
			t.Run(fmt.Sprintf("%s every %d minutes", name, serves), func(t *testing.T) {
				const away = time.Hour
				path := filepath.Join(t.TempDir(), "db")
				s := openBolt(t, path)
				now := storetest.Start
				update := func(id string) {
					u := storetest.NewUpdate(id, "1", now.Add(30*time.Minute))
					u.Now = now
					if err := s.Update(t.Context(), "c", u); err != nil {
						t.Fatal(err)
					}
				}
				update("gone")
				served := 0
				for ; s.Stats().Affiliates > 0 && served < 200; served++ {
					if served > 0 && served%serves == 0 {
						path = restart(t, s, path)
						s = openBolt(t, path)
						now = now.Add(away)
						expire(t, s, now)
					}
					now = now.Add(time.Minute)
					expire(t, s, now)
				}
				// 30 minutes, 15 of grace, and half as much again.
				if served < 30 || served > 68 {
					t.Errorf("it was there for %d minutes of service", served)
				}
			})
		}
	}
}

// TestBoltClockGoesBack has a clock that is at 1970 after the restart.
func TestBoltClockGoesBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	s := openBolt(t, path)
	storetest.Update(t, s, "c", "a", "1", storetest.In(30))
	closeBolt(t, s)
	s = openBolt(t, path)
	back := time.Unix(100, 0)
	expire(t, s, back)
	expire(t, s, back.Add(44*time.Minute))
	storetest.Expect(t, s, "c", "a=1[]")
	expire(t, s, back.Add(46*time.Minute))
	storetest.Expect(t, s, "c")
}

// TestBoltSavesTheTime of a store that nobody changes.
func TestBoltSavesTheTime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	s := openBolt(t, path)
	storetest.Update(t, s, "c", "a", "1", storetest.In(60))
	expire(t, s, storetest.In(50))
	s = openBolt(t, crash(t, path))
	expire(t, s, storetest.In(100))
	storetest.Expect(t, s, "c", "a=1[]")
	// 10 minutes were left, and there are 15 more.
	expire(t, s, storetest.In(126))
	storetest.Expect(t, s, "c")
}

// TestBoltCompacts makes many changes. The file does not grow with them, and has the last.
func TestBoltCompacts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	s := openBolt(t, path)
	random := rand.New(rand.NewPCG(1, 2))
	want := map[string]string{}
	for i := range 8000 {
		id := fmt.Sprint(random.IntN(100))
		if random.IntN(10) == 0 {
			delete(want, id)
			if err := s.Delete(t.Context(), "c", id); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want[id] = fmt.Sprintf("%s=%d[]", id, i)
		if err := s.Update(t.Context(), "c", storetest.NewUpdate(id, fmt.Sprint(i), storetest.In(30))); err != nil {
			t.Fatal(err)
		}
	}
	var lines []string
	for _, line := range want {
		lines = append(lines, line)
	}
	slices.SortFunc(lines, func(a, b string) int {
		return strings.Compare(strings.Split(a, "=")[0], strings.Split(b, "=")[0])
	})
	storetest.Expect(t, s, "c", lines...)
	s = openBolt(t, crash(t, path))
	storetest.Expect(t, s, "c", lines...)
	info, err := os.Stat(path)
	if err != nil || info.Size() > 1<<20 {
		t.Errorf("the file has %d bytes, %v", info.Size(), err)
	}
}

// inChild runs the test in a process of its own, and returns true in the parent.
func inChild(t *testing.T) bool {
	t.Helper()
	const variable = "STORE_TEST_CHILD"
	if os.Getenv(variable) != "" {
		return false
	}
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$")
	child.Env = append(os.Environ(), variable+"=1")
	if out, err := child.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	return true
}

// limitFileSize makes every file that this process writes end at a size, as on a full disk.
func limitFileSize(t *testing.T, size int64) (lift func()) {
	t.Helper()
	signal.Ignore(syscall.SIGXFSZ)
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &before); err != nil {
		t.Fatal(err)
	}
	limit := before
	limit.Cur = uint64(size)
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	lift = func() {
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &before); err != nil {
			t.Error(err)
		}
		signal.Reset(syscall.SIGXFSZ)
	}
	t.Cleanup(lift)
	return lift
}

// TestBoltDiskFull fills the disk. Nothing is acknowledged or seen that is not on disk, and the
// store is as before once there is room again.
func TestBoltDiskFull(t *testing.T) {
	if inChild(t) {
		return
	}
	path := filepath.Join(t.TempDir(), "db")
	s := openBolt(t, path)
	storetest.Update(t, s, "c", "a", "1", storetest.In(30))
	_, w, err := s.Watch(t.Context(), "c", netip.Addr{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	lift := limitFileSize(t, 4096)
	for range 3 {
		if err := storetest.UpdateAs(t, s, "one", "c", "b", "2", storetest.Start); !errors.Is(err, syscall.EFBIG) {
			t.Errorf("an update: %v", err)
		}
		if err := storetest.UpdateAs(t, s, "two", "new", "b", "2", storetest.Start); !errors.Is(err, syscall.EFBIG) {
			t.Errorf("the first update of a cluster: %v", err)
		}
		if err := s.Delete(t.Context(), "c", "a"); err == nil {
			t.Error("a deletion succeeds")
		}
		if err := s.Ready(t.Context()); !errors.Is(err, syscall.EFBIG) {
			t.Errorf("ready: %v", err)
		}
	}
	storetest.Expect(t, s, "c", "a=1[]")
	storetest.Expect(t, s, "new")
	for _, cluster := range []string{"c", "new"} {
		storetest.ExpectAdmits(t, s, cluster, true, "one", "two")
	}
	if events, err := w.Take(); len(events) > 0 || err != nil {
		t.Errorf("the watcher got %v, %v", events, err)
	}
	lift()
	storetest.Expect(t, openBolt(t, crash(t, path)), "c", "a=1[]")
	storetest.Update(t, s, "c", "d", "4", storetest.In(30))
	if err := s.Ready(t.Context()); err != nil {
		t.Errorf("after a write: %v", err)
	}
	for _, s := range []*store.Bolt{s, openBolt(t, crash(t, path))} {
		storetest.Expect(t, s, "c", "a=1[]", "d=4[]")
		storetest.Expect(t, s, "new")
		storetest.ExpectAdmits(t, s, "new", true, "one", "two")
	}
}

// TestBoltIsReadyAgain without a change by a client: the probe itself writes.
func TestBoltIsReadyAgain(t *testing.T) {
	if inChild(t) {
		return
	}
	s := openBolt(t, filepath.Join(t.TempDir(), "db"))
	lift := limitFileSize(t, 4096)
	if err := s.Update(t.Context(), "c", storetest.NewUpdate("a", "1", storetest.In(30))); err == nil {
		t.Fatal("the update succeeds")
	}
	lift()
	deadline := time.Now().Add(time.Minute)
	for s.Ready(t.Context()) != nil {
		if time.Now().After(deadline) {
			t.Fatal("the store is not ready")
		}
	}
}

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
