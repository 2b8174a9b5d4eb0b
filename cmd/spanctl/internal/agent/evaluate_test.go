package agent

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/cmd/spanctl/agentpb/agentpbconnect"
	"github.com/spanmesh/span/cmd/spanctl/internal/evaluate/evaluatetest"
	"github.com/spanmesh/span/netlinkapply"
	"github.com/spanmesh/span/schema"
)

// square takes long to evaluate: it asks for 490,000 values. The comment makes another text of it.
const square = `import "list"
machine: network: kubespan: enabled: false
x: [for x in list.Range(0, 700, 1) for y in list.Range(0, 700, 1) {"\(x)-\(y)"}] // `

// TestAgentEvaluates has an agent whose config takes too much. It answers meanwhile, says what is
// wrong, and stops in the middle of an evaluation.
func TestAgentEvaluates(t *testing.T) {
	root := t.TempDir()
	path, socket := filepath.Join(root, "machine.cue"), filepath.Join(root, "run", "sock")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(square + "at the start\n")
	children := evaluatetest.Of(t, os.Getpid())
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

	children.Await() // the socket is listened on by then
	if got := status(); !strings.Contains(got, "is still being evaluated") {
		t.Errorf("while the agent starts, the fault is %q", got)
	}
	const tooMuch = "want a config that takes milliseconds" // of time or, on a busy machine, of waiting
	<-ready
	if got := status(); !strings.Contains(got, tooMuch) {
		t.Errorf("the fault is %q", got)
	}
	if err := reload(); err == nil || !strings.Contains(err.Error(), tooMuch) {
		t.Errorf("the error of a reload is %v", err)
	}

	// A trial is confirmed in the middle of an evaluation, and the agent ends in it.
	const off = "machine: network: kubespan: enabled: false\n"
	write(off)
	if err := reload(); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Apply(t.Context(), connect.NewRequest(&agentpb.ApplyRequest{Mode: agentpb.ApplyMode_APPLY_MODE_TRY,
		Filename: "machine.cue", Config: []byte(off + "// on trial\n"), Timeout: durationpb.New(time.Hour)})); err != nil {
		t.Fatal(err)
	}
	write(square + "edited\n")
	children.Await()
	if _, err := client.Confirm(t.Context(), connect.NewRequest(&agentpb.ConfirmRequest{})); err != nil {
		t.Errorf("the error of a confirmation is %v", err)
	}
	if got := status(); !strings.Contains(got, "is still being evaluated") {
		t.Errorf("after the confirmation, the fault is %q", got)
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("the agent ended with %v", err)
	}
}

// hasty replaces the config in the file once, while that is evaluated, and reports what is evaluated
// with the lock held.
type hasty struct {
	modelLoader
	p       *process
	replace func()
	locked  []string
}

func (h *hasty) load(ctx context.Context, name string, data []byte) (*schema.Config, error) {
	if replace := h.replace; replace != nil {
		h.replace = nil
		replace()
	}
	if !h.p.mu.TryLock() {
		h.locked = append(h.locked, string(data))
	} else {
		h.p.mu.Unlock()
	}
	return h.modelLoader.load(ctx, name, data)
}

// TestNothingWaitsForAFile has a file that changes while it is evaluated. The next text is put in
// force, and is not evaluated with the lock held that a confirmation and the end of a trial need.
func TestNothingWaitsForAFile(t *testing.T) {
	for name, notice := range map[string]func(p *process){
		"edit":   func(p *process) { p.changed(t.Context(), isWhole) },
		"reload": func(p *process) { _, _ = p.reload(t.Context()) },
		"start":  func(p *process) { p.start(t.Context()) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t.TempDir())
			p := w.process(true)
			write := func(number int) {
				if err := os.WriteFile(p.file.Path(), textOf(number), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			h := &hasty{p: p, replace: func() { write(2) }}
			p.eval = h
			write(1)
			notice(p)
			if w.mesh != 2 {
				t.Errorf("in force is %d", w.mesh)
			}
			if len(h.locked) > 0 {
				t.Errorf("evaluated with the lock held: %q", h.locked)
			}
		})
	}
}

// stuck evaluates nothing until ctx ends, once it is closed.
type stuck struct {
	modelLoader
	closed bool
}

func (s *stuck) load(ctx context.Context, name string, data []byte) (*schema.Config, error) {
	if s.closed {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return s.modelLoader.load(ctx, name, data)
}

// TestTrialEndsWhileNothingIsEvaluated ends a trial while the evaluations of others take all there is.
func TestTrialEndsWhileNothingIsEvaluated(t *testing.T) {
	ctx, w, loader := t.Context(), newWorld(t.TempDir()), &stuck{}
	p := w.process(true)
	p.eval = loader
	if _, err := p.apply(ctx, change{name: "new.cue", data: textOf(1)}); err != nil {
		t.Fatal(err)
	}
	if _, err := p.try(ctx, change{name: "new.cue", data: textOf(2)}, time.Second); err != nil || w.mesh != 2 {
		t.Fatalf("try: %v; %d is in force", err, w.mesh)
	}
	loader.closed = true
	w.now.Up += 2 * time.Second
	if over, _ := p.look(ctx, &p.waiting); !over || w.mesh != 1 {
		t.Errorf("the trial is over: %t; after it %d is in force", over, w.mesh)
	}
}

// TestPartOfAFileIsNotPutInForce has a process begin to write the file while it is evaluated.
func TestPartOfAFileIsNotPutInForce(t *testing.T) {
	ctx, w := t.Context(), newWorld(t.TempDir())
	p := w.process(true)
	write := func(number int) {
		if err := os.WriteFile(p.file.Path(), textOf(number), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(1)
	p.changed(ctx, isWhole)
	p.eval = &hasty{p: p, replace: func() { write(2) }}
	write(3)
	p.changed(ctx, func() bool { return false })
	if w.mesh != 1 {
		t.Errorf("while a process writes, %d is in force", w.mesh)
	}
	p.changed(ctx, isWhole)
	if w.mesh != 2 {
		t.Errorf("once it is written, %d is in force", w.mesh)
	}
}
