package main

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/spanmesh/span/e2e/internal/harness"
)

func TestMain(m *testing.M) {
	// The kernel kills what a thread has started when that ends.
	runtime.LockOSThread()
	if isGroup() {
		os.Exit(runGroup())
	}
	os.Exit(m.Run())
}

// TestSmallFleet lets twenty machines go through all phases.
func TestSmallFleet(t *testing.T) {
	// Not in parallel: what this thread starts ends with it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	o := options{binary: harness.Binary(t), store: "memory", machines: 20, whole: 2, quick: true, record: filepath.Join(t.TempDir(), "record.json")}
	measured, err := o.recorded(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if missed := measured.missed(); len(missed) > 0 {
		t.Errorf("missed: %q", missed)
	}
	for _, name := range phaseNames() {
		d := measured.phase(phaseKind(name))
		if d == nil {
			t.Errorf("no phase %s", name)
			continue
		}
		if last := measured.Samples[d.To]; last.Knowing != o.machines || last.KnowingWhole != o.whole {
			t.Errorf("%s: %d machines know all, %d whole ones: want %d, %d", name, last.Knowing, last.KnowingWhole, o.machines, o.whole)
		}
	}
	// All are connected anew by a restart of the server, and each agent by its own.
	for name, least := range map[phaseKind]int64{storm: 20, rest: 0, restart: 20, cut: 10, rolling: 20} {
		if got := measured.phase(name).Connected; got < least {
			t.Errorf("%s: %d connections, want at least %d", name, got, least)
		}
	}
	if heap, known := measured.heapPerPeer(); !known || heap <= 0 {
		t.Errorf("heap of a peer: %v, %v", heap, known)
	}
	read, err := readRecord(o.record)
	if err != nil {
		t.Fatal(err)
	}
	if read.tables() != measured.tables() {
		t.Error("the record has other figures than the run")
	}
	wantSamePictures(t, measured, read)
}

// wantSamePictures checks that a run has one picture.
func wantSamePictures(t *testing.T, a, b *record) {
	t.Helper()
	dirs := []string{t.TempDir(), t.TempDir()}
	for i, r := range []*record{a, b} {
		if err := r.draw(dirs[i]); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"scale-run.svg", "scale-storm.svg"} {
		first, err := os.ReadFile(filepath.Join(dirs[0], name))
		if err != nil {
			t.Fatal(err)
		}
		second, err := os.ReadFile(filepath.Join(dirs[1], name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(first, []byte("know all others")) || !bytes.Equal(first, second) {
			t.Errorf("%s: %d and %d bytes, want the same with a legend", name, len(first), len(second))
		}
	}
}
