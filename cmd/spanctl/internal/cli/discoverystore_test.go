package cli

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spanmesh/span/discoveryhttp/store"
	"github.com/spanmesh/span/discoveryhttp/store/storetest"
)

// runCommand runs spanctl.
func runCommand(t *testing.T, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	var out, failed strings.Builder
	status = Main(args, strings.NewReader(""), &out, &failed)
	return out.String(), failed.String(), status
}

func expect(t *testing.T, status int, text string, args ...string) {
	t.Helper()
	stdout, stderr, got := runCommand(t, args...)
	if said := stdout + stderr; got != status || !strings.Contains(said, text) || strings.Contains(said, "goroutine ") {
		t.Errorf("%q: status %d, printed %q; want %d, %q", args, got, said, status, text)
	}
}

func openStore(t *testing.T, path string) *store.Bolt {
	t.Helper()
	s, err := store.OpenBolt(path, store.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func fill(t *testing.T, s *store.Bolt, ids ...string) {
	t.Helper()
	for _, id := range ids {
		storetest.Update(t, s, "secret-cluster-id", id, "data", storetest.In(30), "x")
	}
}

func TestBackupAndRestore(t *testing.T) {
	dir := t.TempDir()
	path, copied := filepath.Join(dir, "discovery.db"), filepath.Join(dir, "copy")
	at := "--store=bolt:" + path
	expect(t, 1, "no such file", "discovery", "check", at)
	expect(t, 1, "no such file", "discovery", "backup", copied, at)
	expect(t, 1, "no such file", "discovery", "restore", copied, at)

	s := openStore(t, path)
	fill(t, s, "a", "b")
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- s.ServeCopies(ctx) }()
	for _, err := os.Stat(path + ".sock"); err != nil; _, err = os.Stat(path + ".sock") {
		if len(served) > 0 {
			t.Fatal(<-served)
		}
	}
	expect(t, 0, "wrote "+copied+": 2 affiliates of 1 cluster", "discovery", "backup", copied, at)
	expect(t, 0, path+": 2 affiliates of 1 cluster", "discovery", "check", at)
	expect(t, 1, "stop the server first", "discovery", "restore", copied, at)
	fill(t, s, "c")
	storetest.Expect(t, s, "secret-cluster-id", "a=data[x]", "b=data[x]", "c=data[x]")
	stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	expect(t, 0, copied+": 2 affiliates", "discovery", "check", copied)
	expect(t, 0, path+": 3 affiliates", "discovery", "check", at)
	expect(t, 0, "the file before is at "+path+".", "discovery", "restore", copied, at)
	s = openStore(t, path)
	storetest.Expect(t, s, "secret-cluster-id", "a=data[x]", "b=data[x]")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{path, copied} {
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", file, info.Mode(), err)
		}
	}
}

// TestDamagedStores damages a file in several ways, and follows what the errors say.
// TestUsualStoreIsNamed checks and copies the usual store where there is none.
func TestUsualStoreIsNamed(t *testing.T) {
	dir := t.TempDir()
	for _, args := range [][]string{{"check"}, {"backup", filepath.Join(dir, "copy")}} {
		expect(t, 1, "no such file or directory: a server's store that is elsewhere is named with --store bolt:PATH", append([]string{"discovery", "--state-dir", dir}, args...)...)
	}
}

// TestListenHint gives addresses that are none.
func TestListenHint(t *testing.T) {
	for address, want := range map[string]string{
		"3000": "want 127.0.0.1:3000, or :3000 for all", "127.0.0.1": "want 127.0.0.1:3000", "::1": "want [::1]:3000", "[::1]": "want [::1]:3000",
		"localhost": "want ADDRESS:PORT, such as", "http://127.0.0.1:3000": "want ADDRESS:PORT, such as",
	} {
		expect(t, 1, "spanctl: listen on "+address+": ", "discovery", "serve", "--store", "memory", "--listen", address)
		expect(t, 1, want, "discovery", "serve", "--store", "memory", "--listen", address)
	}
}

func TestDamagedStores(t *testing.T) {
	for name, damage := range map[string]func(data []byte) []byte{
		"cut in half": func(data []byte) []byte { return data[:len(data)/2] },
		"emptied":     func([]byte) []byte { return nil },
		"zeroed":      func(data []byte) []byte { return make([]byte, len(data)) },
		"not a store": func([]byte) []byte { return []byte(strings.Repeat("hello ", 10_000)) },
		"flipped": func(data []byte) []byte {
			for i := 4096; i < len(data); i += 97 {
				data[i] ^= 0x55
			}
			return data
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path, copied := filepath.Join(dir, "discovery.db"), filepath.Join(dir, "copy")
			at := "--store=bolt:" + path
			s := openStore(t, path)
			fill(t, s, "a", "b")
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			expect(t, 0, "wrote", "discovery", "backup", copied, at)
			data, err := os.ReadFile(path)
			if err == nil {
				err = os.WriteFile(path, damage(data), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			expect(t, 1, "store "+path+" is damaged", "discovery", "check", at)
			expect(t, 1, "`spanctl discovery restore`", "discovery", "check", path)
			if err := os.Rename(path, filepath.Join(dir, "damaged")); err != nil {
				t.Fatal(err)
			}
			expect(t, 0, "wrote", "discovery", "backup", path, "--store=bolt:"+copied)
			expect(t, 1, "damaged is damaged, or is no copy of a store", "discovery", "restore", filepath.Join(dir, "damaged"), at)
			expect(t, 0, path+": 2 affiliates", "discovery", "check", at) // a copy that is damaged replaces nothing
			if err := os.Rename(filepath.Join(dir, "damaged"), path); err != nil {
				t.Fatal(err)
			}
			expect(t, 0, "restored "+path+": 2 affiliates", "discovery", "restore", copied, at)
			s = openStore(t, path)
			defer func() { _ = s.Close() }()
			storetest.Expect(t, s, "secret-cluster-id", "a=data[x]", "b=data[x]")
		})
	}
}

func TestStoresWithoutAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "discovery.db")
	if err := openStore(t, path).Close(); err != nil {
		t.Fatal(err)
	}
	expect(t, 1, "etcdctl snapshot save", "discovery", "backup", "copy", "--store=etcd:http://localhost:2379")
	expect(t, 1, "memory, which has no file", "discovery", "check", "--store=memory")
	expect(t, 1, "want bolt:PATH", "discovery", "check", "--store=bolt:")
	expect(t, 1, "want bolt:PATH", "discovery", "restore", "copy", "--store="+path)
	expect(t, 1, "want one of them", "discovery", "check", path, "--store=bolt:"+path)
	expect(t, 1, "the store's own file", "discovery", "backup", path, "--store=bolt:"+path)
	expect(t, 1, "the store's own file", "discovery", "restore", path, "--store=bolt:"+path)
	expect(t, 0, "0 affiliates of 0 clusters", "discovery", "check", "--state-dir="+filepath.Dir(path))
}
