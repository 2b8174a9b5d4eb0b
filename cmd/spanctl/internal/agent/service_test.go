package agent

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/cmd/spanctl/internal/configfile"
	"github.com/spanmesh/span/cmd/spanctl/internal/statedir"
	"github.com/spanmesh/span/cmd/spanctl/internal/trial"
	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/resource"
	"github.com/spanmesh/span/reconciler/state"
	"github.com/spanmesh/span/schema"
)

// fakeRunner records the configs that are put in force.
type fakeRunner struct {
	// mtus are those of the configs that were put in force; 0 for Down.
	mtus []int
	// refuse is the error of SetConfig for a config with this MTU.
	refuse int
	// plan is what Diff finds.
	plan state.Plan
	// alone is set where no agent runs.
	alone bool
}

var errRefused = errors.New("refused")

func (r *fakeRunner) SetConfig(_ context.Context, config *schema.Config, keep func() error) (*reconciler.Pass, error) {
	if err := keep(); err != nil {
		return nil, err
	}
	mtu := int(config.KubeSpan().MTU)
	if mtu == r.refuse {
		return nil, errRefused
	}
	r.mtus = append(r.mtus, mtu)
	return &reconciler.Pass{}, nil
}

func (r *fakeRunner) Diff(context.Context, *schema.Config) (*reconciler.Pass, error) {
	return &reconciler.Pass{Plan: r.plan}, nil
}

func (r *fakeRunner) Down(context.Context) (*reconciler.Pass, error) {
	r.mtus = append(r.mtus, 0)
	return &reconciler.Pass{}, nil
}

func (r *fakeRunner) ResetIdentity(context.Context, func() error) (*reconciler.Pass, error) {
	return nil, errors.ErrUnsupported
}

func (r *fakeRunner) RotateKey(context.Context, reconciler.Rotation) (*reconciler.Pass, error) {
	return nil, reconciler.ErrNoPublisher
}

func (r *fakeRunner) Resources(context.Context, *resource.Type) (*resource.Store, error) {
	return &resource.Store{}, nil
}

func (r *fakeRunner) Running() error {
	if r.alone {
		return errNoAgent
	}
	return nil
}

// bench is a service over a fakeRunner.
type bench struct {
	*service
	runner *fakeRunner
	began  chan trial.Record
}

func newBench(t *testing.T) *bench {
	t.Helper()
	root := t.TempDir()
	b := &bench{runner: &fakeRunner{}, began: make(chan trial.Record, 1)}
	log := slog.New(slog.DiscardHandler)
	configs := &configManager{eval: &evaluator{}, file: configfile.At(filepath.Join(root, "machine.cue")), dir: statedir.At(filepath.Join(root, "state")),
		runner: b.runner, log: log, trialBegan: func(record trial.Record) { b.began <- record }}
	b.service = &service{runner: b.runner, configs: configs, log: log}
	return b
}

func withMTU(mtu string) []byte {
	return []byte("machine: network: kubespan: {enabled: false, mtu: " + mtu + "}\n")
}

func (b *bench) do(t *testing.T, mode agentpb.ApplyMode, mtu string) (*agentpb.ApplyResponse, error) {
	t.Helper()
	response, err := b.Apply(t.Context(), connect.NewRequest(&agentpb.ApplyRequest{Config: withMTU(mtu), Filename: "new.cue", Mode: mode, Timeout: durationpb.New(time.Minute)}))
	if err != nil {
		return nil, err
	}
	return response.Msg, nil
}

func (b *bench) stored(t *testing.T) string {
	t.Helper()
	_, data, err := b.configs.file.Read()
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return string(data)
}

func TestApplyModes(t *testing.T) {
	cut := state.Plan{state.LinkChange{Old: state.Link{Name: "kubespan"}}}
	for _, c := range []struct {
		name            string
		mode            agentpb.ApplyMode
		plan            state.Plan
		stored, inForce bool
		staged          bool
	}{
		{name: "immediate", mode: agentpb.ApplyMode_APPLY_MODE_IMMEDIATE, stored: true, inForce: true},
		{name: "staged", mode: agentpb.ApplyMode_APPLY_MODE_STAGED, stored: true},
		{name: "a dry run stores nothing", mode: agentpb.ApplyMode_APPLY_MODE_DRY_RUN, plan: cut},
		{name: "auto applies what cuts nothing", mode: agentpb.ApplyMode_APPLY_MODE_AUTO, stored: true, inForce: true},
		{name: "auto stages what cuts traffic", mode: agentpb.ApplyMode_APPLY_MODE_AUTO, plan: cut, stored: true, staged: true},
		{name: "try", mode: agentpb.ApplyMode_APPLY_MODE_TRY, stored: true, inForce: true},
		{name: "no mode applies the first config", mode: agentpb.ApplyMode_APPLY_MODE_UNSPECIFIED, stored: true, inForce: true},
		{name: "no mode stages a first config that cuts traffic", mode: agentpb.ApplyMode_APPLY_MODE_UNSPECIFIED, plan: cut, stored: true, staged: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			b.runner.plan = c.plan
			response, err := b.do(t, c.mode, "1400")
			if err != nil {
				t.Fatal(err)
			}
			if stored := b.stored(t) == string(withMTU("1400")); stored != c.stored {
				t.Errorf("stored: %v, want %v", stored, c.stored)
			}
			if inForce := len(b.runner.mtus) == 1; inForce != c.inForce {
				t.Errorf("in force: %v", b.runner.mtus)
			}
			if response.GetStaged() != c.staged {
				t.Errorf("staged: %v, want %v", response.GetStaged(), c.staged)
			}
		})
	}
	t.Run("no mode stages the second config", func(t *testing.T) {
		b := newBench(t)
		for _, mtu := range []string{"1300", "1400"} {
			if _, err := b.do(t, agentpb.ApplyMode_APPLY_MODE_UNSPECIFIED, mtu); err != nil {
				t.Fatal(err)
			}
		}
		if b.stored(t) != string(withMTU("1400")) || len(b.runner.mtus) != 1 {
			t.Errorf("in force: %v", b.runner.mtus)
		}
	})
	t.Run("an unknown mode", func(t *testing.T) {
		if _, err := newBench(t).do(t, agentpb.ApplyMode(99), "1400"); connect.CodeOf(err) != connect.CodeInvalidArgument {
			t.Errorf("the error is %v", err)
		}
	})
}

// TestChangeOfWhatIsNotThereAnyMore makes changes of a config that somebody else has changed.
func TestChangeOfWhatIsNotThereAnyMore(t *testing.T) {
	for _, mode := range []agentpb.ApplyMode{
		agentpb.ApplyMode_APPLY_MODE_IMMEDIATE, agentpb.ApplyMode_APPLY_MODE_STAGED, agentpb.ApplyMode_APPLY_MODE_TRY, agentpb.ApplyMode_APPLY_MODE_AUTO,
	} {
		b := newBench(t)
		if _, err := b.do(t, agentpb.ApplyMode_APPLY_MODE_IMMEDIATE, "1300"); err != nil {
			t.Fatal(err)
		}
		change := func(mtu string, base []byte) error {
			sum := sha256.Sum256(base)
			_, err := b.Apply(t.Context(), connect.NewRequest(&agentpb.ApplyRequest{Config: withMTU(mtu), Filename: "new.cue", Mode: mode, Timeout: durationpb.New(time.Minute), Base: sum[:]}))
			return err
		}
		if err := change("1400", withMTU("1290")); connect.CodeOf(err) != connect.CodeAborted || !strings.Contains(err.Error(), "machine.cue was changed meanwhile") {
			t.Errorf("%v: the error is %v", mode, err)
		}
		if b.stored(t) != string(withMTU("1300")) || len(b.runner.mtus) != 1 {
			t.Errorf("%v: stored is %q, in force were %v", mode, b.stored(t), b.runner.mtus)
		}
		if err := change("1400", withMTU("1300")); err != nil || b.stored(t) != string(withMTU("1400")) {
			t.Errorf("%v: stored is %q, %v", mode, b.stored(t), err)
		}
	}
}

func TestTrialIsFollowed(t *testing.T) {
	const before, tried = 1300, 1400
	for _, c := range []struct {
		name string
		// during happens while the trial goes on.
		during    func(t *testing.T, b *bench, stop chan struct{})
		confirmed bool
		mtus      []int
	}{
		{"stopped", func(_ *testing.T, _ *bench, stop chan struct{}) { close(stop) }, false, []int{before, tried, before}},
		{"confirmed", func(t *testing.T, b *bench, _ chan struct{}) {
			if _, err := b.Confirm(t.Context(), connect.NewRequest(&agentpb.ConfirmRequest{})); err != nil {
				t.Error(err)
			}
		}, true, []int{before, tried}},
		{"rolled back by somebody", func(t *testing.T, b *bench, _ chan struct{}) {
			if _, err := b.Rollback(t.Context(), connect.NewRequest(&agentpb.RollbackRequest{})); err != nil {
				t.Error(err)
			}
		}, false, []int{before, tried, before}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			if _, err := b.do(t, agentpb.ApplyMode_APPLY_MODE_IMMEDIATE, "1300"); err != nil {
				t.Fatal(err)
			}
			if _, err := b.do(t, agentpb.ApplyMode_APPLY_MODE_TRY, "1400"); err != nil {
				t.Fatal(err)
			}
			if _, err := b.do(t, agentpb.ApplyMode_APPLY_MODE_IMMEDIATE, "1350"); connect.CodeOf(err) != connect.CodeFailedPrecondition {
				t.Errorf("another config is applied: %v", err)
			}
			stop := make(chan struct{})
			c.during(t, b, stop)
			end := b.configs.follow(t.Context(), <-b.began, stop)
			if end.err != nil || end.confirmed != c.confirmed {
				t.Errorf("it ended with %+v", end)
			}
			if got := b.runner.mtus; len(got) != len(c.mtus) || got[len(got)-1] != c.mtus[len(c.mtus)-1] {
				t.Errorf("in force were %v, want %v", got, c.mtus)
			}
			if _, on, err := b.configs.dir.Trial(); on || err != nil {
				t.Errorf("a trial goes on: %v, %v", on, err)
			}
		})
	}
}

func TestFailedTrialIsNoTrial(t *testing.T) {
	b := newBench(t)
	if _, err := b.do(t, agentpb.ApplyMode_APPLY_MODE_IMMEDIATE, "1300"); err != nil {
		t.Fatal(err)
	}
	b.runner.refuse = 1400
	if _, err := b.do(t, agentpb.ApplyMode_APPLY_MODE_TRY, "1400"); err == nil || !strings.Contains(err.Error(), errRefused.Error()) {
		t.Errorf("the error is %v", err)
	}
	if b.stored(t) != string(withMTU("1300")) {
		t.Errorf("stored is %s", b.stored(t))
	}
	if _, err := b.do(t, agentpb.ApplyMode_APPLY_MODE_IMMEDIATE, "1350"); err != nil {
		t.Errorf("the next apply: %v", err)
	}
}

func TestTrialOfTheFirstConfigEndsWithoutOne(t *testing.T) {
	b := newBench(t)
	if _, err := b.do(t, agentpb.ApplyMode_APPLY_MODE_TRY, "1400"); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	close(stop)
	if end := b.configs.follow(t.Context(), <-b.began, stop); end.confirmed || end.err != nil {
		t.Errorf("it ended with %+v", end)
	}
	if b.stored(t) != "" || b.runner.mtus[len(b.runner.mtus)-1] != 0 {
		t.Errorf("stored is %q, in force were %v", b.stored(t), b.runner.mtus)
	}
}

func TestDiffSaysWhyTheFileIsNotInForce(t *testing.T) {
	b := newBench(t)
	fault := func(want string) {
		t.Helper()
		response, err := b.Diff(t.Context(), connect.NewRequest(&agentpb.DiffRequest{}))
		if err != nil {
			t.Fatal(err)
		}
		if got := response.Msg.GetConfigError(); want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("it says %q, want %q", got, want)
		}
	}
	fault("there is no config at")
	if _, err := b.do(t, agentpb.ApplyMode_APPLY_MODE_IMMEDIATE, "1300"); err != nil {
		t.Fatal(err)
	}
	fault("")
	if _, err := b.do(t, agentpb.ApplyMode_APPLY_MODE_STAGED, "1400"); err != nil {
		t.Fatal(err)
	}
	fault("is not in force: `spanctl reload`")
	if err := os.WriteFile(b.configs.file.Path(), withMTU("1"), 0o600); err != nil {
		t.Fatal(err)
	}
	fault("is out of range")
}

func TestPassesAndAnAgentDoNotCross(t *testing.T) {
	b := newBench(t)
	agent := statedir.At(filepath.Join(filepath.Dir(b.configs.file.Path()), "state"))
	agent.Agent = true
	if err := agent.Lock(); err != nil {
		t.Fatal(err)
	}
	if _, err := b.do(t, agentpb.ApplyMode_APPLY_MODE_IMMEDIATE, "1300"); connect.CodeOf(err) != connect.CodeUnavailable || !strings.Contains(err.Error(), "another spanctl works with this state directory") {
		t.Errorf("the error is %v", err)
	}
	if b.stored(t) != "" {
		t.Errorf("stored is %q", b.stored(t))
	}
	if err := agent.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := b.do(t, agentpb.ApplyMode_APPLY_MODE_IMMEDIATE, "1300"); err != nil {
		t.Error(err)
	}
}

func TestConfigThatTheHistoryCannotHoldIsNotInForce(t *testing.T) {
	b := newBench(t)
	history := filepath.Join(filepath.Dir(b.configs.file.Path()), "state", "history")
	if err := os.MkdirAll(filepath.Dir(history), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(history, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := b.do(t, agentpb.ApplyMode_APPLY_MODE_IMMEDIATE, "1300"); err == nil || !strings.Contains(err.Error(), "history") {
		t.Errorf("the error is %v", err)
	}
	if len(b.runner.mtus) > 0 {
		t.Errorf("in force are %v", b.runner.mtus)
	}
}

// TestWithoutAnAgent calls the API in this process, as commands do.
func TestWithoutAnAgent(t *testing.T) {
	root := t.TempDir()
	runner := &oneShot{machine: Machine{Socket: "/nowhere/sock"}, dir: statedir.At(filepath.Join(root, "state")), file: configfile.At(filepath.Join(root, "machine.cue"))}
	s := &service{runner: runner, configs: &configManager{eval: &evaluator{}, file: runner.file, dir: runner.dir, runner: runner, log: slog.New(slog.DiscardHandler)}}
	const needsAgent = "no agent is running at /nowhere/sock: start one with `spanctl run`"
	for name, call := range map[string]func() error{
		"GetStatus": func() error {
			_, err := s.GetStatus(t.Context(), connect.NewRequest(&agentpb.GetStatusRequest{}))
			return err
		},
		"List": func() error {
			_, err := s.List(t.Context(), connect.NewRequest(&agentpb.ListRequest{Type: "members"}))
			return err
		},
		"Watch": func() error {
			return s.watch(t.Context(), &agentpb.WatchRequest{Type: "machineconfig"}, func(*agentpb.WatchResponse) error { return nil })
		},
	} {
		err := call()
		if err == nil || !strings.Contains(err.Error(), needsAgent) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := os.Stat(runner.machine.StateDir); err == nil {
		t.Error("a state directory was made")
	}
	if err := os.WriteFile(runner.file.Path(), withMTU("1400"), 0o600); err != nil {
		t.Fatal(err)
	}
	response, err := s.List(t.Context(), connect.NewRequest(&agentpb.ListRequest{Type: "machineconfig"}))
	if err != nil || len(response.Msg.GetResources()) != 1 {
		t.Errorf("the config is %v, %v", response, err)
	}
	if _, err := s.List(t.Context(), connect.NewRequest(&agentpb.ListRequest{Type: "machineconfig", Reveal: true})); connect.CodeOf(err) != connect.CodePermissionDenied {
		t.Errorf("secrets are shown to anybody: %v", err)
	}
}

func TestErrorsKeepTheirWholeMessage(t *testing.T) {
	discovery := connect.NewError(connect.CodeUnavailable, errors.New("connection refused"))
	own := &codedError{connect.CodeNotFound, errors.New("no such member")}
	for _, c := range []struct {
		name string
		err  error
		code connect.Code
		want string
	}{
		{"an error of the service", own, connect.CodeNotFound, "no such member"},
		{"an error that contains one of discovery", fmt.Errorf("the key was not changed: %w", discovery), connect.CodeInternal,
			"the key was not changed: unavailable: connection refused"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got *connect.Error
			if !errors.As(failed(c.err), &got) {
				t.Fatalf("%v has no code", failed(c.err))
			}
			if got.Code() != c.code {
				t.Errorf("the code is %v, want %v", got.Code(), c.code)
			}
			if got.Message() != c.want {
				t.Errorf("the message is %q, want %q", got.Message(), c.want)
			}
		})
	}
}

// TestEndOfATrialNeedsNothingThatMayFail ends a trial when no config can be made of a text.
func TestEndOfATrialNeedsNothingThatMayFail(t *testing.T) {
	b := newBench(t)
	if _, err := b.do(t, agentpb.ApplyMode_APPLY_MODE_IMMEDIATE, "1300"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.do(t, agentpb.ApplyMode_APPLY_MODE_TRY, "1400"); err != nil {
		t.Fatal(err)
	}
	b.configs.eval = noLoader{}
	stop := make(chan struct{})
	close(stop)
	if end := b.configs.follow(t.Context(), <-b.began, stop); end.confirmed || end.err != nil {
		t.Errorf("it ended with %+v", end)
	}
	if got := b.runner.mtus; got[len(got)-1] != 1300 || b.stored(t) != string(withMTU("1300")) {
		t.Errorf("in force were %v, stored is %q", got, b.stored(t))
	}
}

// noLoader makes no config.
type noLoader struct{}

func (noLoader) load(context.Context, string, []byte) (*schema.Config, error) {
	return nil, errRefused
}

func (noLoader) loadUnread(context.Context, string, []byte) (*schema.Config, error) {
	return nil, errRefused
}
