package store_test

import (
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

	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/discoveryhttp/store"
	"github.com/spanmesh/span/discoveryhttp/store/storetest"
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
	if r, _, err := w.Peek(store.BlockSize); !r.Empty() || err != nil {
		t.Errorf("the watcher got %v, %v", r, err)
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
