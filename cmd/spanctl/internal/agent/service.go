package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/cmd/spanctl/agentpb/agentpbconnect"
	"github.com/spanmesh/span/cmd/spanctl/internal/logring"
	"github.com/spanmesh/span/cmd/spanctl/internal/statedir"
	"github.com/spanmesh/span/cmd/spanctl/internal/trial"
	"github.com/spanmesh/span/cmd/spanctl/internal/version"
	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/resource"
	"github.com/spanmesh/span/reconciler/state"
	"github.com/spanmesh/span/schema"
)

// service implements the API.
type service struct {
	runner Runner
	// links takes down the meshes of single links.
	links linkRemover
	// started is closed once an agent has put its config in force, or failed to. It is nil where
	// there is nothing to wait for.
	started <-chan struct{}
	configs *configManager
	health  healthReader
	// metrics serves the metrics; nil where no agent runs.
	metrics http.Handler
	// samples has those of the peers; nil where no agent runs.
	samples *sampler
	log     *slog.Logger
	// records has the last records of the log; nil where none are kept.
	records *logring.Ring
	// checkOwner returns an error where the config in the file must not be replaced; nil in an
	// agent, whose own it is.
	checkOwner func(context.Context) error
}

// awaitStart waits until an agent has put its config in force, or failed to. Before, what is taken
// down would come back, and there is no config to compare with or to change the key of.
func (s *service) awaitStart(ctx context.Context) error {
	if s.started == nil {
		return nil
	}
	select {
	case <-s.started:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// mayReplace returns an error where the config in the file must not be replaced.
func (s *service) mayReplace(ctx context.Context) error {
	if s.checkOwner == nil {
		return nil
	}
	return s.checkOwner(ctx)
}

var _ agentpbconnect.AgentServiceHandler = (*service)(nil)

// codedError is an error with the code to answer with. It is not a connect.Error: those
// of a discovery service may be wrapped in any error, and their codes are not ours.
type codedError struct {
	code connect.Code
	error
}

// failed gives an error the code that fits.
func failed(err error) error {
	var problems schema.Problems
	var coded *codedError
	var conflict *conflictError
	if condition := (*condition.Error)(nil); errors.As(err, &condition) {
		err = fmt.Errorf("%s: %w", condition.Code, err)
	}
	code := connect.CodeInternal
	switch {
	case errors.As(err, &coded):
		code = coded.code
	case errors.As(err, &problems):
		code = connect.CodeInvalidArgument
	case errors.As(err, &conflict):
		code = connect.CodeAborted
	case errors.Is(err, reconciler.ErrNoConfig), errors.Is(err, reconciler.ErrNoMesh),
		errors.Is(err, reconciler.ErrNoPublisher), errors.Is(err, fs.ErrNotExist),
		isTrialError(err), errors.Is(err, errNoAgent), errors.Is(err, statedir.ErrNoRevision):
		code = connect.CodeFailedPrecondition
	case errors.Is(err, reconciler.ErrStopped), errors.Is(err, reconciler.ErrBusy), errors.Is(err, statedir.ErrBusy):
		code = connect.CodeUnavailable
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	}
	return connect.NewError(code, err)
}

// isTrialError reports whether an error says that a trial stands in the way, or that there is none.
func isTrialError(err error) bool {
	for _, one := range []error{trial.ErrNone, trial.ErrOnTrial, trial.ErrNotEnded, trial.ErrNothing, trial.ErrOther} {
		if errors.Is(err, one) {
			return true
		}
	}
	return false
}

// respond makes the answer of a call.
func respond[R any](response *R, err error) (*connect.Response[R], error) {
	if err != nil {
		return nil, failed(err)
	}
	return connect.NewResponse(response), nil
}

// GetStatus implements the API.
func (s *service) GetStatus(ctx context.Context, _ *connect.Request[agentpb.GetStatusRequest]) (*connect.Response[agentpb.GetStatusResponse], error) {
	if err := s.runner.Running(); err != nil {
		return nil, failed(err)
	}
	return connect.NewResponse(&agentpb.GetStatusResponse{
		Version:     version.Version,
		Commit:      version.Commit,
		ConfigPath:  s.configs.file.Path(),
		ConfigError: s.configs.faultText(ctx, statusPatience),
	}), nil
}

// GetConfig implements the API.
func (s *service) GetConfig(context.Context, *connect.Request[agentpb.GetConfigRequest]) (*connect.Response[agentpb.GetConfigResponse], error) {
	name, data, err := s.configs.file.Read()
	return respond(&agentpb.GetConfigResponse{Filename: name, Config: data}, err)
}

// Apply implements the API.
func (s *service) Apply(ctx context.Context, req *connect.Request[agentpb.ApplyRequest]) (*connect.Response[agentpb.ApplyResponse], error) {
	return respond(s.apply(ctx, req.Msg))
}

func (s *service) apply(ctx context.Context, m *agentpb.ApplyRequest) (response *agentpb.ApplyResponse, err error) {
	response = &agentpb.ApplyResponse{}
	mode, c := m.GetMode(), change{name: m.GetFilename(), data: m.GetConfig(), base: m.GetBase()}
	if mode == agentpb.ApplyMode_APPLY_MODE_UNSPECIFIED {
		mode = s.usualMode()
	}
	var cuts []state.Interruption
	if mode == agentpb.ApplyMode_APPLY_MODE_AUTO || mode == agentpb.ApplyMode_APPLY_MODE_DRY_RUN {
		if response.Plan, cuts, err = s.diffWith(ctx, c.name, c.data); err != nil {
			return nil, err
		}
	}
	if mode == agentpb.ApplyMode_APPLY_MODE_AUTO {
		mode = agentpb.ApplyMode_APPLY_MODE_IMMEDIATE
		if len(cuts) > 0 {
			mode, response.Staged = agentpb.ApplyMode_APPLY_MODE_STAGED, true
		}
	}
	if mode == agentpb.ApplyMode_APPLY_MODE_DRY_RUN {
		return response, nil
	}
	if err := s.mayReplace(ctx); err != nil {
		return nil, err
	}
	response.Done = mode
	var did outcome
	switch mode {
	case agentpb.ApplyMode_APPLY_MODE_STAGED:
		did, err = s.configs.stage(ctx, c)
		response.StoredAt = did.path
		return response, err
	case agentpb.ApplyMode_APPLY_MODE_IMMEDIATE:
		did, err = s.configs.apply(ctx, c)
	case agentpb.ApplyMode_APPLY_MODE_TRY:
		did, err = s.configs.try(ctx, c, m.GetTimeout().AsDuration())
		response.TrialUntil = timestamppb.New(endOf(did.trial))
	default:
		return nil, &codedError{connect.CodeInvalidArgument, fmt.Errorf("the mode %v is not known", mode)}
	}
	response.StoredAt = did.path
	response.Plan, err = s.carriedOut(did.pass, err)
	return response, err
}

// usualMode returns what APPLY_MODE_UNSPECIFIED stands for. Where nothing was ever in force, a
// config need not wait: there is no mesh that it may cut.
func (s *service) usualMode() agentpb.ApplyMode {
	if s.runner.Running() == nil {
		if _, _, err := s.configs.dir.InForce(); errors.Is(err, statedir.ErrNoRevision) {
			return agentpb.ApplyMode_APPLY_MODE_AUTO
		}
	}
	return agentpb.ApplyMode_APPLY_MODE_STAGED
}

// carriedOut returns planDone's result for the Runner in use: an agent repeats a pass
// that failed, and a one-shot pass is repeated by hand.
func (s *service) carriedOut(pass *reconciler.Pass, err error) (*agentpb.Plan, error) {
	if s.runner.Running() == nil {
		return planDone(pass, err, "the agent tries again by itself; see its log")
	}
	return planDone(pass, err, nextByHand)
}

// nextByHand says what to do after a one-shot pass that failed in part.
const nextByHand = "once the cause is fixed, run the command again: it continues where it stopped"

// History implements the API.
func (s *service) History(_ context.Context, req *connect.Request[agentpb.HistoryRequest]) (*connect.Response[agentpb.HistoryResponse], error) {
	return respond(historyOf(s.configs.dir, numberOf(req.Msg.GetNumber())))
}

// Rollback implements the API.
func (s *service) Rollback(ctx context.Context, req *connect.Request[agentpb.RollbackRequest]) (*connect.Response[agentpb.RollbackResponse], error) {
	if err := s.mayReplace(ctx); err != nil {
		return nil, failed(err)
	}
	did, err := s.configs.rollback(ctx, numberOf(req.Msg.GetNumber()))
	plan, err := s.carriedOut(did.pass, err)
	return respond(&agentpb.RollbackResponse{Plan: plan, StoredAt: did.path, Revision: revisionOf(did.revision)}, err)
}

// Confirm implements the API.
func (s *service) Confirm(ctx context.Context, _ *connect.Request[agentpb.ConfirmRequest]) (*connect.Response[agentpb.ConfirmResponse], error) {
	return respond(&agentpb.ConfirmResponse{}, s.configs.confirm(ctx))
}

// RotateKey implements the API.
func (s *service) RotateKey(ctx context.Context, req *connect.Request[agentpb.RotateKeyRequest]) (*connect.Response[agentpb.RotateKeyResponse], error) {
	if err := s.awaitStart(ctx); err != nil {
		return nil, failed(err)
	}
	rotation, pass, err := s.configs.rotateKey(ctx, req.Msg.GetForce())
	plan, err := s.carriedOut(pass, err)
	if err != nil {
		return nil, failed(err)
	}
	s.log.Info("WireGuard key rotated", "before", rotation.Before.String(), "after", rotation.After().String())
	return connect.NewResponse(&agentpb.RotateKeyResponse{Plan: plan,
		PublicKeyBefore: rotation.Before.String(), PublicKey: rotation.After().String()}), nil
}

// ResetIdentity implements the API.
func (s *service) ResetIdentity(ctx context.Context, _ *connect.Request[agentpb.ResetIdentityRequest]) (*connect.Response[agentpb.ResetIdentityResponse], error) {
	if err := s.awaitStart(ctx); err != nil {
		return nil, failed(err)
	}
	reset, pass, err := s.configs.resetIdentity(ctx)
	if reset.NodeID != "" {
		s.log.Info("identity reset", "node_id_before", reset.NodeIDBefore, "node_id", reset.NodeID, "key", reset.Key.String())
	}
	plan, err := s.carriedOut(pass, err)
	if err != nil && reset.NodeID != "" {
		err = fmt.Errorf("the identity was replaced, the node ID is %s now, but the mesh does not use it yet: %w", reset.NodeID, err)
	}
	if err != nil {
		return nil, failed(err)
	}
	response := &agentpb.ResetIdentityResponse{Plan: plan, NodeIdBefore: reset.NodeIDBefore, NodeId: reset.NodeID, PublicKey: reset.Key.String()}
	if !reset.KeyBefore.IsZero() {
		response.PublicKeyBefore = reset.KeyBefore.String()
	}
	return connect.NewResponse(response), nil
}

// Diff implements the API.
func (s *service) Diff(ctx context.Context, req *connect.Request[agentpb.DiffRequest]) (*connect.Response[agentpb.DiffResponse], error) {
	if req.Msg.Config != nil {
		plan, _, err := s.diffWith(ctx, req.Msg.GetFilename(), req.Msg.GetConfig())
		return respond(&agentpb.DiffResponse{Plan: plan}, err)
	}
	plan, _, err := s.diff(ctx, nil)
	return respond(&agentpb.DiffResponse{Plan: plan, ConfigError: s.configs.faultText(ctx, diffPatience)}, err)
}

// diffWith compares the kernel with the text of a config. It also returns what that cuts, which
// the plan has for people only.
func (s *service) diffWith(ctx context.Context, name string, data []byte) (*agentpb.Plan, []state.Interruption, error) {
	config, err := s.configs.eval.load(ctx, name, data)
	if err != nil {
		return nil, nil, err
	}
	return s.diff(ctx, config)
}

func (s *service) diff(ctx context.Context, config *schema.Config) (*agentpb.Plan, []state.Interruption, error) {
	if err := s.awaitStart(ctx); err != nil {
		return nil, nil, err
	}
	pass, err := s.runner.Diff(ctx, config)
	if err != nil {
		return nil, nil, err
	}
	plan := planOf(pass.Plan)
	plan.Conditions = conditionsOf(pass.Conditions)
	return plan, pass.Plan.Impact(), nil
}

// Reload implements the API.
func (s *service) Reload(ctx context.Context, _ *connect.Request[agentpb.ReloadRequest]) (*connect.Response[agentpb.ReloadResponse], error) {
	plan, err := s.carriedOut(s.configs.reload(ctx))
	return respond(&agentpb.ReloadResponse{Plan: plan}, err)
}

// Down implements the API.
func (s *service) Down(ctx context.Context, req *connect.Request[agentpb.DownRequest]) (*connect.Response[agentpb.DownResponse], error) {
	if err := s.awaitStart(ctx); err != nil {
		return nil, failed(err)
	}
	down := s.configs.takeDown
	if link := req.Msg.GetLink(); link != "" {
		down = func(ctx context.Context) (*reconciler.Pass, error) { return s.links.DownLink(ctx, link) }
	}
	pass, err := down(ctx)
	// An agent stays idle after this, and repeats nothing.
	plan, err := planDone(pass, err, nextByHand)
	return respond(&agentpb.DownResponse{Plan: plan}, err)
}

// resources finds a type by what a user typed, and the store that has its resources.
func (s *service) resources(ctx context.Context, name string) (*resource.Type, *resource.Store, error) {
	t, err := resource.Lookup(name)
	if err != nil {
		return nil, nil, &codedError{connect.CodeInvalidArgument, err}
	}
	store, err := s.runner.Resources(ctx, t)
	return t, store, err
}

// errReveal refuses to show secrets.
var errReveal = &codedError{connect.CodePermissionDenied, errors.New("--show-secrets is for root alone")}

// List implements the API.
func (s *service) List(ctx context.Context, req *connect.Request[agentpb.ListRequest]) (*connect.Response[agentpb.ListResponse], error) {
	return respond(s.list(ctx, req.Msg))
}

func (s *service) list(ctx context.Context, m *agentpb.ListRequest) (*agentpb.ListResponse, error) {
	if m.GetReveal() && !isRoot(ctx) {
		return nil, errReveal
	}
	t, store, err := s.resources(ctx, m.GetType())
	if err != nil {
		return nil, err
	}
	all := store.List(t)
	show := shower{reveal: m.GetReveal(), now: time.Now(), names: resource.Names(t, all)}
	if m.GetId() != "" {
		one, err := resource.FindNamed(store, t, all, m.GetId())
		if err != nil {
			return nil, notFound(err)
		}
		all = []resource.Resource{one}
	}
	shown, err := show.list(all)
	return &agentpb.ListResponse{Table: tableOf(t), Resources: shown}, err
}

// notFound gives an error of resource.Find the code that fits.
func notFound(err error) error {
	if ambiguous := (*resource.AmbiguousError)(nil); errors.As(err, &ambiguous) {
		return &codedError{connect.CodeInvalidArgument, err}
	}
	return &codedError{connect.CodeNotFound, err}
}

// watched returns what the resources that a word means are called. One that is not there yet may come.
func watched(store *resource.Store, t *resource.Type, there []resource.Resource, word string) (string, error) {
	if word == "" {
		return "", nil
	}
	one, err := resource.FindNamed(store, t, there, word)
	if ambiguous := (*resource.AmbiguousError)(nil); errors.As(err, &ambiguous) {
		return "", notFound(err)
	}
	if err == nil && !t.Means(one, word) {
		return one.ID, nil // it was a name in the mesh
	}
	return word, nil
}

// Watch implements the API.
func (s *service) Watch(ctx context.Context, req *connect.Request[agentpb.WatchRequest], stream *connect.ServerStream[agentpb.WatchResponse]) error {
	if err := s.watch(ctx, req.Msg, stream.Send); err != nil {
		return failed(err)
	}
	return nil
}

func (s *service) watch(ctx context.Context, m *agentpb.WatchRequest, send func(*agentpb.WatchResponse) error) error {
	if m.GetReveal() && !isRoot(ctx) {
		return errReveal
	}
	if err := s.runner.Running(); err != nil {
		return err
	}
	t, store, err := s.resources(ctx, m.GetType())
	if err != nil {
		return err
	}
	there, watcher := store.Watch(t)
	defer watcher.Close()
	word, err := watched(store, t, there, m.GetId())
	if err != nil {
		return err
	}
	changes := make([]resource.Change, len(there))
	for i, r := range there {
		changes[i].Resource = r
	}
	table := tableOf(t)
	for {
		message := &agentpb.WatchResponse{Table: table}
		show := shower{reveal: m.GetReveal(), now: time.Now(), names: resource.Names(t, store.List(t))}
		if message.Events, err = show.events(changes, word); err != nil {
			return err
		}
		if table != nil || len(message.Events) > 0 {
			if err := send(message); err != nil {
				return err
			}
		}
		table = nil
		if changes, err = watcher.Next(ctx); err != nil {
			return err
		}
	}
}
