package statedir

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/cmd/spanctl/internal/durable"
	"github.com/spanmesh/span/reconciler/mesh"
)

// smallDisk returns a directory on a disk of 64 KiB that the calling goroutine alone sees, and a
// function that fills it but for some pages of 4 KiB.
func smallDisk(t *testing.T) (path string, fill func(free int)) {
	t.Helper()
	runtime.LockOSThread() // the thread ends with the test, and the mount with it
	path = t.TempDir()
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("none", path, "tmpfs", 0, "size=64k,mode=0700"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return path, func(free int) {
		t.Helper()
		filler := filepath.Join(path, "filler")
		page := make([]byte, 4096)
		file, err := os.OpenFile(filler, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		for err == nil {
			_, err = file.Write(page)
		}
		if !errors.Is(err, unix.ENOSPC) {
			t.Fatal(err)
		}
		info, err := file.Stat()
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(file.Truncate(info.Size()-int64(free)*4096), file.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

var card = net.HardwareAddr{2, 0, 0, 0, 0, 1}

// TestFullDiskLeavesTheIdentity does all that writes the identity on a disk with any number of free
// pages: it succeeds, or everything is as before, also after a restart.
func TestFullDiskLeavesTheIdentity(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(d *Dir) error
	}{
		{"rotation", func(d *Dir) error {
			r := d.Rotate()
			if _, err := r.Next("cluster", mesh.Host{MAC: card}); err != nil {
				return errors.Join(err, r.Discard())
			}
			return r.Keep()
		}},
		{"reset", func(d *Dir) error { _, err := d.ResetIdentity(); return err }},
	} {
		t.Run(c.name, func(t *testing.T) {
			path, fill := smallDisk(t)
			failed, done := 0, 0
			for free := 0; done == 0; free++ {
				if err := os.RemoveAll(filepath.Join(path, "state")); err != nil {
					t.Fatal(err)
				}
				d := open(t, filepath.Join(path, "state"))
				before := identify(t, d, "cluster", card)
				fill(free)
				err := c.do(d)
				if err := d.Close(); err != nil {
					t.Fatal(err)
				}
				d = open(t, filepath.Join(path, "state"))
				after := identify(t, d, "cluster", card)
				switch {
				case err == nil && after.PublicKey == before.PublicKey:
					t.Errorf("with %d free pages the key is the same, without an error", free)
				case err == nil:
					done++
				case !errors.Is(err, unix.ENOSPC) || after != before:
					t.Errorf("with %d free pages: %v, from %+v to %+v", free, err, before, after)
				default:
					failed++
				}
				if left, _ := filepath.Glob(filepath.Join(path, "state", "*rotate*")); len(left) > 0 {
					t.Errorf("with %d free pages there are %v", free, left)
				}
				if err := errors.Join(d.Close(), os.Remove(filepath.Join(path, "filler"))); err != nil {
					t.Fatal(err)
				}
			}
			if failed == 0 {
				t.Error("it never failed: the disk was not full")
			}
		})
	}
}

// TestFullDiskMakesNoIdentity has a disk that is full before the first start: there is an identity
// once there is space, and it stays.
func TestFullDiskMakesNoIdentity(t *testing.T) {
	path, fill := smallDisk(t)
	d := open(t, filepath.Join(path, "state"))
	fill(0)
	if id, err := d.Identify("cluster", mesh.Host{}); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("got %+v, %v", id, err)
	}
	fill(2)
	first := identify(t, d, "cluster", nil)
	if again := identify(t, d, "cluster", nil); again != first {
		t.Errorf("from %+v to %+v", first, again)
	}
}

// TestFullDiskKeepsWhatWasStored saves configs, caches and endpoints on a full disk: what was
// stored before is still read.
func TestFullDiskKeepsWhatWasStored(t *testing.T) {
	path, fill := smallDisk(t)
	d := open(t, filepath.Join(path, "state"))
	before := map[mesh.Key]netip.AddrPort{{1}: netip.MustParseAddrPort("192.0.2.1:1")}
	_, kept := d.Keep(time.Now(), "apply", "machine.cue", []byte("a: 1"), true)
	if err := errors.Join(kept, d.SaveLastGood(before), d.Save("service", "c", []byte("[1]"))); err != nil {
		t.Fatal(err)
	}
	fill(0)
	_, keepErr := d.Keep(time.Now(), "apply", "machine.cue", []byte("a: 2"), true)
	for what, err := range map[string]error{"a config": keepErr, "endpoints": d.SaveLastGood(nil), "a cache": d.Save("service", "c", []byte("[2]"))} {
		if !errors.Is(err, unix.ENOSPC) {
			t.Errorf("%s was saved on a full disk: %v", what, err)
		}
	}
	if _, data, err := d.Read(0); err != nil || string(data) != "a: 1" {
		t.Errorf("the newest config is %q, %v", data, err)
	}
	if now, err := d.LastGood(); err != nil || now[mesh.Key{1}] != before[mesh.Key{1}] {
		t.Errorf("the endpoints are %v, %v", now, err)
	}
	if data, err := d.Load("service", "c"); err != nil || string(data) != "[1]" {
		t.Errorf("the cache is %s, %v", data, err)
	}
	if left, err := filepath.Glob(filepath.Join(path, "state", ".*")); err != nil || len(left) > 0 {
		t.Errorf("left behind is %v, %v", left, err)
	}
}

// TestPowerLossInARotation loses power at every step: the key in use is the old one or the new one,
// and what was announced, which is after Next, was on the disk then.
func TestPowerLossInARotation(t *testing.T) {
	errPower := errors.New("no power")
	for at := 0; ; at++ {
		path := filepath.Join(t.TempDir(), "state")
		d := open(t, path)
		before := identify(t, d, "cluster", card)
		steps := 0
		d.Disk.Before = func(durable.Step, string) error {
			if steps++; steps > at {
				return errPower
			}
			return nil
		}
		r := d.Rotate()
		next, err := r.Next("cluster", mesh.Host{MAC: card})
		if err == nil {
			data, readErr := os.ReadFile(filepath.Join(path, rotateFile))
			if _, private, parseErr := parseKubespanIdentity(data); errors.Join(readErr, parseErr) != nil || private != next.PrivateKey {
				t.Errorf("after %d steps the key may be announced and is not on the disk: %v, %v", at, readErr, parseErr)
			}
			err = r.Keep()
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		d = open(t, path)
		after := identify(t, d, "cluster", card)
		if after != before && after != next {
			t.Errorf("after %d steps: from %+v to %+v", at, before, after)
		}
		if _, err := os.Stat(filepath.Join(path, rotateFile)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("after %d steps: %v", at, err)
		}
		if err == nil {
			if after != next || at < 5 {
				t.Errorf("after %d steps the identity is %+v, want %+v", at, after, next)
			}
			return
		}
		if !errors.Is(err, errPower) {
			t.Fatal(err)
		}
	}
}
