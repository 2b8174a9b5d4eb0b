package regular_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/cmd/spanctl/internal/regular"
)

func TestRead(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := unix.Mkfifo("pipe", 0o600); err != nil {
		t.Fatal(err)
	}
	socket, err := net.Listen("unix", "socket")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = socket.Close() }()
	if err := os.WriteFile("file", []byte("12345"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("pipe", "link"); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"pipe":                    "it is a pipe, not a regular file",
		"link":                    "it is a pipe, not a regular file",
		"/dev/zero":               "it is a device, not a regular file",
		"/dev/tty":                "", // without a terminal it cannot be opened
		"socket":                  "no such device or address",
		".":                       "it is a directory, not a regular file",
		filepath.Join("no", "no"): "no such file or directory",
	} {
		if _, err := regular.Read(path, 5); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("of %s the error is %v, want %q", path, err, want)
		}
	}
	if data, err := regular.Read("file", 5); err != nil || string(data) != "12345" {
		t.Errorf("a file is %q, %v", data, err)
	}
	if _, err := regular.Read("file", 4); err == nil || !strings.Contains(err.Error(), "longer than 4 bytes") {
		t.Errorf("of a file that is too long the error is %v", err)
	}
}
