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
	if _, err := readToken(file); err == nil || !strings.Contains(err.Error(), "cannot be read: stat "+file+": no such file") {
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
	a.write(t, otherToken, 0o444)
	if found := a.report(t); len(found) != 1 || !strings.Contains(found[0].Cause, "has mode 0444") {
		t.Errorf("with a token that others can read the conditions are %v", found)
	}
	if healthy(otherToken) {
		t.Error("it is served with a token that others can read")
	}
}
