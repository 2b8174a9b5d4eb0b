package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/cmd/spanctl/agentpb/agentpbconnect"
	"github.com/spanmesh/span/cmd/spanctl/internal/statedir"
	"github.com/spanmesh/span/cmd/spanctl/internal/version"
	"github.com/spanmesh/span/reconciler"
	"github.com/spanmesh/span/reconciler/resource"
	"github.com/spanmesh/span/schema"
)

// maxRequest bounds a request in bytes: a machine config in JSON's base64.
const maxRequest = 8 << 20

// api answers the agent's API.
type api struct {
	*parts
	keeper *keeper
	loop   *reconciler.Loop
}

var _ agentpbconnect.AgentServiceHandler = (*api)(nil)

// failed gives an error the code that fits.
func failed(err error) error {
	var problems schema.Problems
	code := connect.CodeInternal
	switch {
	case errors.As(err, &problems):
		code = connect.CodeInvalidArgument
	case errors.Is(err, reconciler.ErrNoConfig), errors.Is(err, reconciler.ErrNoMesh), errors.Is(err, reconciler.ErrNoPublisher), errors.Is(err, fs.ErrNotExist),
		errors.Is(err, errOnTrial), errors.Is(err, ErrNoTrial), errors.Is(err, statedir.ErrNoRevision):
		code = connect.CodeFailedPrecondition
	case errors.Is(err, reconciler.ErrStopped):
		code = connect.CodeUnavailable
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	}
	return connect.NewError(code, err)
}

// GetStatus implements the API.
func (a *api) GetStatus(context.Context, *connect.Request[agentpb.GetStatusRequest]) (*connect.Response[agentpb.GetStatusResponse], error) {
	return connect.NewResponse(&agentpb.GetStatusResponse{
		Version:     version.Version,
		Commit:      version.Commit,
		ConfigPath:  a.keeper.file.Path(),
		ConfigError: a.keeper.whyText(),
	}), nil
}

// GetConfig implements the API.
func (a *api) GetConfig(context.Context, *connect.Request[agentpb.GetConfigRequest]) (*connect.Response[agentpb.GetConfigResponse], error) {
	name, data, err := a.keeper.file.Read()
	if err != nil {
		return nil, failed(err)
	}
	return connect.NewResponse(&agentpb.GetConfigResponse{Filename: name, Config: data}), nil
}

// Apply implements the API.
func (a *api) Apply(ctx context.Context, req *connect.Request[agentpb.ApplyRequest]) (*connect.Response[agentpb.ApplyResponse], error) {
	response, err := a.apply(ctx, req.Msg)
	if err != nil {
		return nil, failed(err)
	}
	return connect.NewResponse(response), nil
}

func (a *api) apply(ctx context.Context, m *agentpb.ApplyRequest) (response *agentpb.ApplyResponse, err error) {
	response = &agentpb.ApplyResponse{}
	mode := m.GetMode()
	if mode == agentpb.ApplyMode_APPLY_MODE_AUTO || mode == agentpb.ApplyMode_APPLY_MODE_DRY_RUN {
		// Not nil: an empty config is a config too.
		if response.Plan, err = a.diff(ctx, m.GetFilename(), append([]byte{}, m.GetConfig()...)); err != nil {
			return nil, err
		}
	}
	if mode == agentpb.ApplyMode_APPLY_MODE_AUTO {
		mode = agentpb.ApplyMode_APPLY_MODE_IMMEDIATE
		if len(response.GetPlan().GetCuts()) > 0 {
			mode, response.Staged = agentpb.ApplyMode_APPLY_MODE_STAGED, true
		}
	}
	var pass *reconciler.Pass
	switch mode {
	case agentpb.ApplyMode_APPLY_MODE_DRY_RUN:
		return response, nil
	case agentpb.ApplyMode_APPLY_MODE_STAGED:
		response.StoredAt, err = a.keeper.stage(m.GetFilename(), m.GetConfig())
		return response, err
	case agentpb.ApplyMode_APPLY_MODE_IMMEDIATE:
		pass, response.StoredAt, err = a.keeper.apply(ctx, m.GetFilename(), m.GetConfig())
	case agentpb.ApplyMode_APPLY_MODE_TRY:
		var until time.Time
		pass, response.StoredAt, until, err = a.keeper.try(ctx, m.GetFilename(), m.GetConfig(), m.GetTimeout().AsDuration())
		response.TrialUntil = timestamppb.New(until)
	default:
		return nil, connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("the mode %v is not known", mode))
	}
	response.Plan, err = outcome(pass, err)
	return response, err
}

// History implements the API.
func (a *api) History(_ context.Context, req *connect.Request[agentpb.HistoryRequest]) (*connect.Response[agentpb.HistoryResponse], error) {
	response, err := historyOf(a.dir, int(req.Msg.GetNumber()))
	if err != nil {
		return nil, failed(err)
	}
	return connect.NewResponse(response), nil
}

// Rollback implements the API.
func (a *api) Rollback(ctx context.Context, req *connect.Request[agentpb.RollbackRequest]) (*connect.Response[agentpb.RollbackResponse], error) {
	pass, path, revision, err := a.keeper.rollback(ctx, int(req.Msg.GetNumber()))
	plan, err := outcome(pass, err)
	if err != nil {
		return nil, failed(err)
	}
	return connect.NewResponse(&agentpb.RollbackResponse{Plan: plan, StoredAt: path, Revision: revisionOf(revision)}), nil
}

// Confirm implements the API.
func (a *api) Confirm(context.Context, *connect.Request[agentpb.ConfirmRequest]) (*connect.Response[agentpb.ConfirmResponse], error) {
	if err := a.keeper.confirm(); err != nil {
		return nil, failed(err)
	}
	return connect.NewResponse(&agentpb.ConfirmResponse{}), nil
}

// RotateKey implements the API.
func (a *api) RotateKey(ctx context.Context, _ *connect.Request[agentpb.RotateKeyRequest]) (*connect.Response[agentpb.RotateKeyResponse], error) {
	rotation := a.dir.Rotate()
	plan, err := outcome(a.loop.RotateKey(ctx, rotation.Next, rotation.Keep))
	if err != nil {
		return nil, failed(err)
	}
	a.log.Info("the machine has a new WireGuard key", "before", rotation.Before.String(), "after", rotation.After().String())
	return connect.NewResponse(&agentpb.RotateKeyResponse{Plan: plan,
		PublicKeyBefore: rotation.Before.String(), PublicKey: rotation.After().String()}), nil
}

// Diff implements the API.
func (a *api) Diff(ctx context.Context, req *connect.Request[agentpb.DiffRequest]) (*connect.Response[agentpb.DiffResponse], error) {
	plan, err := a.diff(ctx, req.Msg.GetFilename(), req.Msg.Config)
	if err != nil {
		return nil, failed(err)
	}
	return connect.NewResponse(&agentpb.DiffResponse{Plan: plan, ConfigError: a.keeper.whyText()}), nil
}

// diff compares the kernel with a config, the one in force if data is nil.
func (a *api) diff(ctx context.Context, name string, data []byte) (*agentpb.Plan, error) {
	var config *schema.Config
	var known *reconciler.Knowledge
	if data != nil {
		var err error
		if config, err = loadConfig(name, data); err != nil {
			return nil, err
		}
		if known, err = a.knowledgeFor(ctx, config); err != nil {
			return nil, err
		}
	}
	pass, err := a.loop.Diff(ctx, config, known)
	if err != nil {
		return nil, err
	}
	return planOf(pass.Plan), nil
}

// knowledgeFor asks the discovery of a config that differs from the loop's; nil
// stands for what the loop knows.
func (a *api) knowledgeFor(ctx context.Context, config *schema.Config) (*reconciler.Knowledge, error) {
	same, err := a.loop.SameDiscovery(ctx, config)
	if err != nil || same || !config.Cluster.Discovery.Enabled {
		return nil, err
	}
	discovery := a.newDiscovery()
	if err := a.ask(ctx, discovery, config); err != nil {
		return nil, err
	}
	known := discovery.Knowledge()
	return &known, nil
}

// Reload implements the API.
func (a *api) Reload(ctx context.Context, _ *connect.Request[agentpb.ReloadRequest]) (*connect.Response[agentpb.ReloadResponse], error) {
	plan, err := outcome(a.keeper.reload(ctx, "reload"))
	if err != nil {
		return nil, failed(err)
	}
	return connect.NewResponse(&agentpb.ReloadResponse{Plan: plan}), nil
}

// Down implements the API.
func (a *api) Down(ctx context.Context, _ *connect.Request[agentpb.DownRequest]) (*connect.Response[agentpb.DownResponse], error) {
	plan, err := outcome(a.loop.Down(ctx))
	if err != nil {
		return nil, failed(err)
	}
	// The agent does not try by itself: it stays idle after this.
	return connect.NewResponse(&agentpb.DownResponse{Plan: alone(plan)}), nil
}

// lookup finds a type by what a user typed.
func lookup(name string) (*resource.Type, error) {
	t, err := resource.Lookup(name)
	if err != nil {
		return nil, connect.NewError(connect.CodeInvalidArgument, err)
	}
	return t, nil
}

// List implements the API.
func (a *api) List(ctx context.Context, req *connect.Request[agentpb.ListRequest]) (*connect.Response[agentpb.ListResponse], error) {
	t, err := lookup(req.Msg.GetType())
	if err != nil {
		return nil, err
	}
	response := &agentpb.ListResponse{Table: &agentpb.Table{Headings: t.Headings()}}
	for _, r := range a.store.List(t) {
		if id := req.Msg.GetId(); id != "" && id != r.ID {
			continue
		}
		shown, err := resourceOf(r, req.Msg.GetReveal() && isRoot(ctx))
		if err != nil {
			return nil, failed(err)
		}
		response.Resources = append(response.Resources, shown)
	}
	if id := req.Msg.GetId(); id != "" && len(response.Resources) == 0 {
		return nil, connect.NewError(connect.CodeNotFound, fmt.Errorf("%s %q not found", t.Aliases[0], id))
	}
	return connect.NewResponse(response), nil
}

// Watch implements the API.
func (a *api) Watch(ctx context.Context, req *connect.Request[agentpb.WatchRequest], stream *connect.ServerStream[agentpb.WatchResponse]) error {
	t, err := lookup(req.Msg.GetType())
	if err != nil {
		return err
	}
	there, watcher := a.store.Watch(t)
	defer watcher.Close()
	events := make([]resource.Change, len(there))
	for i, r := range there {
		events[i].Resource = r
	}
	table := &agentpb.Table{Headings: t.Headings()}
	for {
		message := &agentpb.WatchResponse{Table: table}
		if message.Events, err = eventsOf(events, req.Msg.GetId(), req.Msg.GetReveal() && isRoot(ctx)); err != nil {
			return failed(err)
		}
		if table != nil || len(message.Events) > 0 {
			if err := stream.Send(message); err != nil {
				return err
			}
		}
		table = nil
		if events, err = watcher.Next(ctx); err != nil {
			return failed(err)
		}
	}
}

// callerKey is the context key of who is at the other end of a connection.
type callerKey struct{}

// withCaller notes the user at the other end of a unix socket (unix(7),
// SO_PEERCRED).
func withCaller(ctx context.Context, c net.Conn) context.Context {
	raw, ok := c.(*net.UnixConn)
	if !ok {
		return ctx
	}
	control, err := raw.SyscallConn()
	if err != nil {
		return ctx
	}
	var credentials *unix.Ucred
	_ = control.Control(func(fd uintptr) {
		credentials, _ = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if credentials == nil {
		return ctx
	}
	return context.WithValue(ctx, callerKey{}, *credentials)
}

// isRoot tells whether root is calling.
func isRoot(ctx context.Context) bool {
	credentials, ok := ctx.Value(callerKey{}).(unix.Ucred)
	return ok && credentials.Uid == 0
}
