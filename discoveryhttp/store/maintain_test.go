package store_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/spanmesh/span/discoveryhttp/store"
	"github.com/spanmesh/span/discoveryhttp/store/storetest"
)

// serveCopies makes an open store give copies until the test ends. It returns when the store
// does.
func serveCopies(t *testing.T, s *store.Bolt, path string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	group.Go(func() {
		if err := s.ServeCopies(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		group.Wait()
	})
	for {
		info, err := os.Stat(path + ".sock")
		if err == nil && info.Mode().Perm() == 0o600 {
			return
		}
	}
}

// TestBackup backs up a store that is closed, and one that changes meanwhile, and restores it.
func TestBackup(t *testing.T) {
	for name, running := range map[string]bool{"closed": false, "running": true} {
		t.Run(name, func(t *testing.T) {
			// A relative path leaves room for the name of a socket.
			t.Chdir(t.TempDir())
			const path, copied = "db", "copy"
			s := openBolt(t, path)
			for i := range 500 {
				storetest.Update(t, s, "c", fmt.Sprint(i), strings.Repeat("x", 300), storetest.In(30))
			}
			want := storetest.List(t, s, "c")
			var change sync.WaitGroup
			ctx, cancel := context.WithCancel(t.Context())
			defer change.Wait()
			defer cancel()
			if running {
				serveCopies(t, s, path)
				change.Go(func() {
					for i := 0; ctx.Err() == nil; i++ {
						_ = s.Update(ctx, "other", storetest.NewUpdate("a", fmt.Sprint(i), storetest.In(30)))
					}
				})
			} else {
				closeBolt(t, s)
			}
			if stats, err := store.CheckBolt(t.Context(), path); err != nil || stats.Affiliates < 500 {
				t.Errorf("check: %+v, %v", stats, err)
			}
			for range 2 {
				if err := store.BackupBolt(t.Context(), path, copied); err != nil {
					t.Fatal(err)
				}
			}
			expectFiles(t, "copy", "db", "db.sock")
			if info, err := os.Stat(copied); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("the copy is %v, %v", info.Mode(), err)
			}
			if running {
				if _, err := store.RestoreBolt(t.Context(), copied, path); err == nil || !strings.Contains(err.Error(), "stop the server first") {
					t.Errorf("a restore while the server runs: %v", err)
				}
				cancel()
				change.Wait()
				closeBolt(t, s)
			}
			if err := os.WriteFile(path, []byte("damaged"), 0o600); err != nil {
				t.Fatal(err)
			}
			aside, err := store.RestoreBolt(t.Context(), copied, path)
			if err != nil {
				t.Fatal(err)
			}
			if raw, err := os.ReadFile(aside); string(raw) != "damaged" {
				t.Errorf("moved aside: %s, %v", raw, err)
			}
			storetest.Expect(t, openBolt(t, path), "c", want...)
		})
	}
}

// TestCopyFromAFullDisk asks a server for a copy whose disk has no room for one.
func TestCopyFromAFullDisk(t *testing.T) {
	if inChild(t) {
		return
	}
	t.Chdir(t.TempDir())
	s := openBolt(t, "db")
	storetest.Update(t, s, "c", "a", "1", storetest.In(30))
	serveCopies(t, s, "db")
	lift := limitFileSize(t, 8192)
	conn, err := new(net.Dialer).DialContext(t.Context(), "unix", "db.sock")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(conn)
	lift()
	if err != nil || len(raw) < 8 || int(binary.BigEndian.Uint64(raw)) != len(raw)-8 {
		t.Fatalf("%d bytes, %v", len(raw), err)
	}
	if err := os.WriteFile("copy", raw[8:], 0o600); err != nil {
		t.Fatal(err)
	}
	if stats, err := store.CheckBolt(t.Context(), "copy"); err != nil || stats.Affiliates != 1 {
		t.Errorf("the copy has %+v, %v", stats, err)
	}
}

// TestRestoreKeepsTheFile has no room for the copy, and a store behind a symbolic link.
func TestRestoreKeepsTheFile(t *testing.T) {
	if inChild(t) {
		return
	}
	t.Chdir(t.TempDir())
	if err := os.Mkdir("disk", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("disk/db", "db"); err != nil {
		t.Fatal(err)
	}
	s := openBolt(t, "disk/db")
	storetest.Update(t, s, "c", "a", "1", storetest.In(30))
	closeBolt(t, s)
	if err := store.BackupBolt(t.Context(), "db", "copy"); err != nil {
		t.Fatal(err)
	}
	lift := limitFileSize(t, 4096)
	aside, err := store.RestoreBolt(t.Context(), "copy", "db")
	lift()
	if !errors.Is(err, syscall.EFBIG) || aside != "" {
		t.Errorf("a restore without room: %q, %v", aside, err)
	}
	if stats, err := store.CheckBolt(t.Context(), "db"); err != nil || stats.Affiliates != 1 {
		t.Errorf("the file is gone: %+v, %v", stats, err)
	}
	if aside, err = store.RestoreBolt(t.Context(), "copy", "db"); err != nil || !strings.Contains(aside, "disk/db.") {
		t.Errorf("a restore through a link: %q, %v", aside, err)
	}
	if info, err := os.Lstat("db"); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link was replaced: %v, %v", info.Mode(), err)
	}
	expectFiles(t, "copy", "db", "disk")
}

// expectFiles expects the working directory to have no other files.
func expectFiles(t *testing.T, allowed ...string) {
	t.Helper()
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !strings.Contains(strings.Join(allowed, " "), f.Name()) {
			t.Errorf("%s was left", f.Name())
		}
	}
}

// TestBackupErrors has files that cannot be backed up, or restored from.
func TestBackupErrors(t *testing.T) {
	t.Chdir(t.TempDir())
	const path, to = "db", "copy"
	const missing = "missing"
	if err := os.WriteFile(path, []byte(strings.Repeat("text", 10_000)), 0o600); err != nil {
		t.Fatal(err)
	}
	var damage *store.DamageError
	if err := store.BackupBolt(t.Context(), path, to); !errors.As(err, &damage) {
		t.Errorf("a backup of a damaged file: %v", err)
	}
	if _, err := store.RestoreBolt(t.Context(), path, to); !errors.As(err, &damage) {
		t.Errorf("a restore from a damaged file: %v", err)
	}
	for what, err := range map[string]error{
		"backup":  store.BackupBolt(t.Context(), missing, to),
		"check":   second(store.CheckBolt(t.Context(), missing)),
		"restore": second(store.RestoreBolt(t.Context(), missing, to)),
	} {
		if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), missing) {
			t.Errorf("%s of a missing file: %v", what, err)
		}
	}
	expectFiles(t, "db")
}

// second returns the error of a call with two results.
func second[T any](_ T, err error) error { return err }

// TestBackupOfAServerThatGivesNone has a process that has the file open and no socket, and one
// whose socket ends early.
func TestBackupOfAServerThatGivesNone(t *testing.T) {
	t.Chdir(t.TempDir())
	const path, to = "db", "copy"
	openBolt(t, path)
	if err := store.BackupBolt(t.Context(), path, to); err == nil || !strings.Contains(err.Error(), "is open in another process, which gives no copy") {
		t.Errorf("without a socket: %v", err)
	}
	listener, err := new(net.ListenConfig).Listen(t.Context(), "unix", path+".sock")
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	defer group.Wait()
	defer func() { _ = listener.Close() }()
	group.Go(func() {
		if conn, err := listener.Accept(); err == nil {
			_, _ = conn.Write([]byte{0, 0, 0, 0, 0, 1, 0, 0, 'x'})
			_ = conn.Close()
		}
	})
	if err := store.BackupBolt(t.Context(), path, to); err == nil || !strings.Contains(err.Error(), "ended the copy after 1 of 65536 bytes") {
		t.Errorf("a copy that is cut short: %v", err)
	}
	expectFiles(t, "db", "db.sock")
}

// TestCopyThatFailsNamesTheReason asks a server for a copy that cannot read its file.
func TestCopyThatFailsNamesTheReason(t *testing.T) {
	t.Chdir(t.TempDir())
	const path = "db"
	s := openBolt(t, path)
	serveCopies(t, s, path)
	closeBolt(t, s)
	openBolt(t, path) // holds the file, and has no socket
	for what, err := range map[string]error{
		"backup": store.BackupBolt(t.Context(), path, "copy"),
		"check":  second(store.CheckBolt(t.Context(), path)),
	} {
		if err == nil || !strings.Contains(err.Error(), "the server gives no copy: database not open") {
			t.Errorf("%s: %v", what, err)
		}
	}
	expectFiles(t, "db", "db.sock")
}

func TestReset(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	if aside, err := store.ResetBolt(path); aside != "" || err != nil {
		t.Errorf("a reset of nothing: %q, %v", aside, err)
	}
	s := openBolt(t, path)
	storetest.Update(t, s, "c", "a", "1", storetest.In(30))
	if _, err := store.ResetBolt(path); err == nil || !strings.Contains(err.Error(), "stop the server first") {
		t.Errorf("a reset of an open store: %v", err)
	}
	closeBolt(t, s)
	aside, err := store.ResetBolt(path)
	if err != nil {
		t.Fatal(err)
	}
	storetest.Expect(t, openBolt(t, path), "c")
	storetest.Expect(t, openBolt(t, aside), "c", "a=1[]")
}
