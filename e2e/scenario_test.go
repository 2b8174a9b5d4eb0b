package e2e_test

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// inGuest tells that the tests run in the virtual machine, on the kernel's own
// WireGuard.
func inGuest() bool { return os.Getenv("SPANCTL_GUEST") != "" }

// scenario gives a test its line in docs/testing.md.
func scenario(t *testing.T, name string) {
	t.Helper()
	report := os.Getenv("SPANCTL_SCENARIOS")
	if report == "" {
		return
	}
	t.Cleanup(func() {
		outcome := "pass"
		switch {
		case t.Failed():
			outcome = "fail"
		case t.Skipped():
			outcome = "skip\t" + map[bool]string{false: "guest only", true: "userspace only"}[inGuest()]
		}
		file, err := os.OpenFile(report, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = file.Close() }()
		if _, err := fmt.Fprintf(file, "%s\t%s\n", name, outcome); err != nil {
			t.Fatal(err)
		}
	})
}

// requiresGuest skips a test that would touch what is the whole machine's.
func requiresGuest(t *testing.T, why string) {
	t.Helper()
	if !inGuest() {
		t.Skip(why)
	}
}

// requiresCurl skips a test in the guest, which has no curl: those that need it
// are about discovery, which is the same there.
func requiresCurl(t *testing.T) {
	t.Helper()
	_, err := exec.LookPath("curl")
	switch {
	case err == nil:
	case inGuest():
		t.Skip("the guest has no curl")
	default:
		t.Fatal("curl is missing: run `make setup`")
	}
}
