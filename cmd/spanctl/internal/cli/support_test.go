package cli

import (
	"archive/zip"
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/cmd/spanctl/agentpb/agentpbconnect"
	"github.com/spanmesh/span/cmd/spanctl/internal/support"
)

// configured is an agent with a config.
type configured struct {
	agentpbconnect.AgentServiceClient
	config map[string]any
}

func (c configured) List(context.Context, *connect.Request[agentpb.ListRequest]) (*connect.Response[agentpb.ListResponse], error) {
	spec, err := structpb.NewStruct(c.config)
	return connect.NewResponse(&agentpb.ListResponse{Resources: []*agentpb.Resource{{Spec: spec}}}), err
}

// TestTokensAreSecrets has two tokens of the API, one in a file that the config names. They look like
// no secrets.
func TestTokensAreSecrets(t *testing.T) {
	t.Parallel()
	const own, named = "the-token-that-the-agent-made-is-plain-words", "correct-horse-battery-staple-and-more-words"
	dir := t.TempDir()
	file := filepath.Join(dir, "tok")
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "api-token"), []byte(own+"\n"), 0o600), os.WriteFile(file, []byte(named+"\r\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	s := &agentSession{AgentServiceClient: configured{config: map[string]any{"machine": map[string]any{"api": map[string]any{"tokenFile": file}}}}}
	var facts support.Facts
	s.learn(t.Context(), dir, &facts)
	got := support.NewScrubber(support.None, facts).Text("2: eth0: alias pw " + named + " and " + own)
	if want := "2: eth0: alias pw (hidden) and (hidden)"; got != want {
		t.Errorf("the links are %q, want %q", got, want)
	}
}

// TestSupportDoesNotWaitForAnAgentThatHangs makes a bundle where an agent accepts calls and answers
// none: it has what the kernel shows.
func TestSupportDoesNotWaitForAnAgentThatHangs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	listener, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close() // connections wait in its backlog
	path := filepath.Join(dir, "bundle.zip")
	var out, errs strings.Builder
	if status := Main([]string{"support", "--socket", filepath.Join(dir, "s"), "-o", path}, strings.NewReader(""), &out, &errs); status != exitOK {
		t.Fatalf("status %d: %s", status, errs.String())
	}
	archive, err := zip.OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()
	for _, name := range []string{"README.txt", "kernel/sysctls.txt", "versions.txt"} {
		if !slices.ContainsFunc(archive.File, func(f *zip.File) bool { return f.Name == name }) {
			t.Errorf("%s is missing", name)
		}
	}
	if !strings.Contains(errs.String(), "missing or not complete:") {
		t.Errorf("what is missing is not said: %q", errs.String())
	}
}
