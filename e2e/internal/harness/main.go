package harness

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spanmesh/span/e2e/internal/nodecmd"
	"github.com/spanmesh/span/e2e/lab"
)

// Patience bounds every wait. It is long, since a machine may be slow or busy, and no
// test's verdict depends on it. In the guest, one emulated processor does everything.
var Patience = map[bool]time.Duration{false: 3 * time.Minute, true: 5 * time.Minute}[InGuest()]

// Where a package's tests run.
type Where string

const (
	// Everywhere is on this machine and in the guest.
	Everywhere Where = ""
	// HostOnly is on this machine, with WireGuard in userspace.
	HostOnly Where = "userspace only"
	// GuestOnly is in the virtual machine, on the kernel's own WireGuard.
	GuestOnly Where = "guest only"
)

// where is what Main was called with.
var where Where

// Main runs the tests of a package. The commands maps names to what this program
// does inside of a node, beside what nodecmd has.
func Main(m *testing.M, w Where, commands map[string]lab.Subcommand) int {
	where = w
	if w == GuestOnly && !InGuest() {
		fmt.Fprintln(os.Stderr, "these tests change the whole machine: run them with `make test-guest`")
		return 1
	}
	all := map[string]lab.Subcommand{}
	for _, set := range []map[string]lab.Subcommand{nodecmd.Commands, commands} {
		for name, command := range set {
			all[name] = command
		}
	}
	return lab.Main(all, m.Run)
}

// InGuest reports whether the tests run in the virtual machine.
func InGuest() bool { return os.Getenv("SPANCTL_GUEST") != "" }

// Binary returns the path of the spanctl under test.
func Binary(t *testing.T) string {
	t.Helper()
	path := os.Getenv("SPANCTL_BINARY")
	if path == "" {
		path = filepath.Join(Root(t), "bin/spanctl")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = os.Stat(path); err != nil {
		t.Fatalf("build the binary first, with `make build`: %v", err)
	}
	return path
}

// Root returns the directory of the workspace.
func Root(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.work")); err == nil {
			return dir
		}
	}
	t.Fatal("no go.work in this directory or above it")
	return ""
}

// Tool returns the path of a program that a make target built.
func Tool(t *testing.T, name, target string) string {
	t.Helper()
	path := filepath.Join(Root(t), ".tools/bin", name)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("build %s first, with `make %s`: %v", name, target, err)
	}
	return path
}

// Context returns a context that ends after Patience.
func Context(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	t.Cleanup(cancel)
	return ctx
}

// Unavailable skips a test that this machine cannot run. `make test-all` fails instead.
func Unavailable(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("SPANCTL_TEST_ALL") != "" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// RequireUsers needs a user namespace with more than one user. Those that an ordinary
// user makes have one.
func RequireUsers(t *testing.T, why string) {
	t.Helper()
	users, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		t.Fatal(err)
	}
	if fields := strings.Fields(string(users)); len(fields) == 3 && fields[2] == "1" {
		Unavailable(t, "this user namespace has one user, and "+why)
	}
}

// SkipInGuest skips a test of what the guest does not have.
func SkipInGuest(t *testing.T, why string) {
	t.Helper()
	if InGuest() {
		t.Skip(why)
	}
}
