package linklock

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/spanmesh/span/reconciler/condition"
)

func TestOneHolderAtATime(t *testing.T) {
	first, second := New("/first", slog.New(slog.DiscardHandler)), New("/second", slog.New(slog.DiscardHandler))
	defer first.Close()
	defer second.Close()
	a, b := fmt.Sprintf("test-%d-a", os.Getpid()), fmt.Sprintf("test-%d-b", os.Getpid())
	hold := func(l *Locks, links ...string) {
		t.Helper()
		if err := l.Hold(links...); err != nil {
			t.Fatal(err)
		}
	}
	hold(first, a)
	hold(first, a)
	wantHeld := func(err error, by string) {
		t.Helper()
		var failed *condition.Error
		want := fmt.Sprintf("process %d with state directory %s", os.Getpid(), by)
		if !errors.As(err, &failed) || failed.Code != condition.SecondAgent || !strings.Contains(failed.Cause, want) {
			t.Errorf("the error is %v, want %q", err, want)
		}
	}
	wantHeld(second.Hold(a), "/first")
	hold(second, b)
	wantHeld(first.Hold(a, b), "/second")
	if err := second.Hold(a); err == nil {
		t.Error("a lock was given back after another was refused")
	}
	second.Close()
	hold(first, a, b)
	hold(first, b)
	hold(second, a)
	first.Close()
	hold(second, a, b)
}
