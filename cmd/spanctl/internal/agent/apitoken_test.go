package agent

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"connectrpc.com/connect"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/reconciler/condition"
)

func TestToken(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if _, err := readToken(file); err == nil || !strings.Contains(err.Error(), "cannot be read: lstat "+file+": no such file") {
		t.Errorf("without a file: %v", err)
	}
	for _, c := range []struct {
		content string
		mode    os.FileMode
		want    string
	}{
		{goodToken, 0o600, ""},
		{"\n " + goodToken + "\r\n", 0o400, ""},
		{strings.Repeat("~", maxToken), 0o640, ""},
		{goodToken, 0o604, "has mode 0604: others may read or change the token: `chmod 600 " + file + "`"},
		{goodToken, 0o602, "has mode 0602: others may"},
		{goodToken[:31], 0o600, "has no token: write one to it of 32 to 1024 letters"},
		{"", 0o600, "has no token"},
		{goodToken + "\n" + goodToken, 0o600, "has no token"},
		{strings.Repeat("ä", 32), 0o600, "has no token"},
		{strings.Repeat("x", 2000), 0o600, "it is longer than"},
	} {
		if err := errors.Join(os.RemoveAll(file), os.WriteFile(file, []byte(c.content), 0o600), os.Chmod(file, c.mode)); err != nil {
			t.Fatal(err)
		}
		token, err := readToken(file)
		if c.want == "" && (err != nil || token != strings.TrimSpace(c.content)) {
			t.Errorf("%q with mode %04o: %v", c.content, c.mode, err)
		}
		if c.want != "" && (err == nil || token != "" || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), goodToken[:8])) {
			t.Errorf("%q with mode %04o: %v, want %q", c.content, c.mode, err, c.want)
		}
	}
	if _, err := readToken(t.TempDir()); err == nil {
		t.Error("a directory is a token")
	}
}

// TestTokenOfOthers has tokens that another user may replace.
func TestTokenOfOthers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root gives files away")
	}
	const other = 65533
	for _, c := range []struct {
		name string
		do   func(dir string) error
		want string
	}{
		{"the owner's alone", func(string) error { return nil }, ""},
		{"a file of another", func(dir string) error { return os.Chown(dir+"/d/token", other, 0) }, "/d/token belongs to user 65533, who may change the token: `chown root "},
		{"a directory of another", func(dir string) error { return os.Chown(dir+"/d", other, 0) }, "/d belongs to user 65533"},
		{"a directory above of another", func(dir string) error { return os.Chown(dir, other, 0) }, " belongs to user 65533"},
		{"a directory that all may write", func(dir string) error { return os.Chmod(dir+"/d", 0o777) }, "/d has mode 0777: others may change the token: `chmod o-w "},
		{"one in which files are their owners'", func(dir string) error { return os.Chmod(dir+"/d", os.ModeSticky|0o777) }, ""},
		{"a link", func(dir string) error {
			return errors.Join(os.Rename(dir+"/d/token", dir+"/d/it"), os.Symlink("../d/it", dir+"/d/token"))
		}, ""},
		{"a link to what another has", func(dir string) error {
			return errors.Join(os.Mkdir(dir+"/e", 0o700), os.Rename(dir+"/d/token", dir+"/e/it"), os.Chown(dir+"/e", other, 0), os.Symlink(dir+"/e/it", dir+"/d/token"))
		}, "/e belongs to user 65533"},
		{"a link of another", func(dir string) error {
			return errors.Join(os.Chmod(dir+"/d", os.ModeSticky|0o777), os.Rename(dir+"/d/token", dir+"/it"), os.Symlink("../it", dir+"/d/token"), os.Lchown(dir+"/d/token", other, 0))
		}, "/d/token belongs to user 65533"},
		{"links in a circle", func(dir string) error {
			return errors.Join(os.Remove(dir+"/d/token"), os.Symlink("token", dir+"/d/token"))
		}, "too many levels of symbolic links"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := errors.Join(os.Mkdir(dir+"/d", 0o755), os.WriteFile(dir+"/d/token", []byte(goodToken), 0o600), c.do(dir)); err != nil {
				t.Fatal(err)
			}
			token, err := readToken(dir + "/d/token")
			if c.want == "" && (err != nil || token != goodToken) {
				t.Errorf("it is refused: %v", err)
			}
			if c.want != "" && (err == nil || token != "" || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("the error is %v, want %q", err, c.want)
			}
		})
	}
}

// TestTokenIsFollowed has no token, then one, then another, then one that others can read.
func TestTokenIsFollowed(t *testing.T) {
	a := newReadAPI(t)
	healthy := func(token string) bool {
		_, err := a.client(t, token).GetHealth(t.Context(), connect.NewRequest(&agentpb.GetHealthRequest{}))
		return err == nil
	}
	found := a.follow(t, a.config(t))
	if len(found) != 1 || found[0].Code != condition.APIUnavailable || found[0].Subject != a.address || !strings.Contains(found[0].Remedy, "openssl rand -hex 32") {
		t.Fatalf("without a token the conditions are %v", found)
	}
	a.write(t, goodToken, 0o600)
	for len(found) > 0 { // it is tried again
		found = a.report(t)
	}
	if !healthy(goodToken) || healthy(otherToken) {
		t.Error("the token does not count")
	}
	stream, err := a.client(t, goodToken).Watch(t.Context(), connect.NewRequest(&agentpb.WatchRequest{Type: "peers"}))
	if err != nil || !stream.Receive() {
		t.Fatalf("nothing comes: %v", err)
	}
	a.write(t, otherToken, 0o400)
	if found := a.report(t); len(found) > 0 {
		t.Errorf("with another token the conditions are %v", found)
	}
	if stream.Receive() {
		t.Error("who has the old token is served")
	}
	if healthy(goodToken) || !healthy(otherToken) {
		t.Error("the other token does not count")
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(a.file, 65533, 0); err != nil {
			t.Fatal(err)
		}
		if found := a.report(t); len(found) != 1 || found[0].Code != condition.APIUnavailable || !strings.Contains(found[0].Cause, "belongs to user 65533") || !strings.Contains(found[0].Remedy, "chown root") {
			t.Errorf("with the token of another user the conditions are %v", found)
		}
	}
	a.write(t, otherToken, 0o444)
	if found := a.report(t); len(found) != 1 || !strings.Contains(found[0].Cause, "has mode 0444") {
		t.Errorf("with a token that others can read the conditions are %v", found)
	}
	if healthy(otherToken) {
		t.Error("it is served with a token that others can read")
	}
}
