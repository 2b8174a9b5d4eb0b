package agent

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/cmd/spanctl/agentpb/agentpbconnect"
	"github.com/spanmesh/span/cmd/spanctl/internal/evaluate"
	"github.com/spanmesh/span/netlinkapply"
)

// square takes long to evaluate: it asks for 490,000 values. The comment makes another text of it.
const square = `import "list"
machine: network: kubespan: enabled: false
x: [for x in list.Range(0, 700, 1) for y in list.Range(0, 700, 1) {"\(x)-\(y)"}] // `

// TestAgentEvaluates has an agent whose config takes too much. It answers meanwhile, says what is
// wrong, and stops in the middle of an evaluation.
func TestAgentEvaluates(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("an agent needs root")
	}
	root := t.TempDir()
	path, socket := filepath.Join(root, "machine.cue"), filepath.Join(root, "run", "sock")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(square + "at the start\n")
	ready, ended := make(chan struct{}), make(chan error, 1)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go func() {
		ended <- Run(ctx, Options{
			Machine: Machine{StateDir: filepath.Join(root, "state"), Socket: socket, Wireguard: netlinkapply.InUserspace, Log: slog.New(slog.DiscardHandler)},
			Config:  path, Ready: func() { close(ready) },
		})
	}()
	client := agentpbconnect.NewAgentServiceClient(&http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}}, "http://agent")
	status := func() string {
		t.Helper()
		response, err := client.GetStatus(t.Context(), connect.NewRequest(&agentpb.GetStatusRequest{}))
		if err != nil {
			t.Fatal(err)
		}
		return response.Msg.GetConfigError()
	}
	reload := func() error {
		_, err := client.Reload(t.Context(), connect.NewRequest(&agentpb.ReloadRequest{}))
		return err
	}

	for open := false; !open; time.Sleep(time.Millisecond) {
		_, err := os.Stat(socket)
		open = err == nil
	}
	if got := status(); !strings.Contains(got, "is still being evaluated") {
		t.Errorf("while the agent starts, the fault is %q", got)
	}
	const tooMuch = "takes more than 10s to evaluate"
	<-ready
	if got := status(); !strings.Contains(got, tooMuch) {
		t.Errorf("the fault is %q", got)
	}
	if err := reload(); err == nil || !strings.Contains(err.Error(), tooMuch) {
		t.Errorf("the error of a reload is %v", err)
	}

	// It ends in the middle of an evaluation.
	write(square + "edited\n")
	go func() { _ = reload() }()
	awaitChild(t)
	stop()
	if err := <-ended; err != nil {
		t.Errorf("the agent ended with %v", err)
	}
}

// awaitChild waits until this process has a child that evaluates.
func awaitChild(t *testing.T) {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		lists, _ := filepath.Glob("/proc/" + strconv.Itoa(os.Getpid()) + "/task/*/children")
		for _, list := range lists {
			pids, _ := os.ReadFile(list)
			for pid := range strings.FieldsSeq(string(pids)) {
				if used, _ := os.ReadFile("/proc/" + pid + "/cmdline"); strings.Contains(string(used), evaluate.Command) {
					return
				}
			}
		}
	}
	t.Fatal("nothing is evaluated")
}
