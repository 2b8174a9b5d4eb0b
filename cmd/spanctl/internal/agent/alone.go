package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/cmd/spanctl/agentpb/agentpbconnect"
	"github.com/spanmesh/span/reconciler/resource"
	"github.com/spanmesh/span/schema"
	"github.com/spanmesh/span/schema/load"
)

// Alone answers the agent's API on a machine where no agent runs: what can be done at
// once is done in a pass of its own.
type Alone struct {
	Once
	// From is what the config in force is made of; empty, the one that is stored.
	From load.Input
	// NoAgent is the answer to what only an agent can do.
	NoAgent error
	// trials are those that calls have begun and that go on.
	trials sync.WaitGroup
}

var _ agentpbconnect.AgentServiceHandler = (*Alone)(nil)

// nextAlone is what happens after a pass that failed.
const nextAlone = "once the cause is mended, run the command again: it continues where it stopped"

// alone is a plan that was carried out where no agent goes on with it.
func alone(plan *agentpb.Plan) *agentpb.Plan {
	if plan.GetFailure() != nil {
		plan.Failure.Next = nextAlone
	}
	return plan
}

// answer is that of a call.
func answer[R any](response *R, err error) (*connect.Response[R], error) {
	if err != nil {
		return nil, failed(err)
	}
	return connect.NewResponse(response), nil
}

// config is the one in force, with its secrets.
func (a *Alone) config() (*schema.Config, error) {
	in := a.From
	if len(in.Sources) == 0 {
		name, data, err := a.File.Read()
		if err != nil {
			return nil, err
		}
		in.Sources = []schema.Source{{Name: name, Data: data}}
	}
	in.ReadSecret = ReadSecret
	return in.Load()
}

// GetStatus implements the API.
func (a *Alone) GetStatus(context.Context, *connect.Request[agentpb.GetStatusRequest]) (*connect.Response[agentpb.GetStatusResponse], error) {
	return nil, failed(a.NoAgent)
}

// GetConfig implements the API.
func (a *Alone) GetConfig(context.Context, *connect.Request[agentpb.GetConfigRequest]) (*connect.Response[agentpb.GetConfigResponse], error) {
	name, data, err := a.File.Read()
	return answer(&agentpb.GetConfigResponse{Filename: name, Config: data}, err)
}

// Apply implements the API.
func (a *Alone) Apply(ctx context.Context, req *connect.Request[agentpb.ApplyRequest]) (*connect.Response[agentpb.ApplyResponse], error) {
	return answer(a.apply(ctx, req.Msg))
}

func (a *Alone) apply(ctx context.Context, m *agentpb.ApplyRequest) (response *agentpb.ApplyResponse, err error) {
	response = &agentpb.ApplyResponse{}
	mode, source := m.GetMode(), schema.Source{Name: m.GetFilename(), Data: append([]byte{}, m.GetConfig()...)}
	if mode == agentpb.ApplyMode_APPLY_MODE_STAGED {
		response.StoredAt, err = a.Stage(source)
		return response, err
	}
	config, err := loadConfig(source.Name, source.Data)
	if err != nil {
		return nil, err
	}
	if mode == agentpb.ApplyMode_APPLY_MODE_DRY_RUN || mode == agentpb.ApplyMode_APPLY_MODE_AUTO {
		if response.Plan, err = a.Once.Diff(ctx, config); err != nil {
			return nil, err
		}
	}
	switch {
	case mode == agentpb.ApplyMode_APPLY_MODE_DRY_RUN:
		return response, nil
	case mode == agentpb.ApplyMode_APPLY_MODE_TRY:
		return a.try(ctx, source, config, m.GetTimeout().AsDuration())
	case mode == agentpb.ApplyMode_APPLY_MODE_AUTO && len(response.GetPlan().GetCuts()) > 0:
		response.Staged = true
		response.StoredAt, err = a.Stage(source)
		return response, err
	}
	response.Plan, response.StoredAt, err = a.Once.Apply(ctx, source, config)
	alone(response.GetPlan())
	return response, err
}

// try begins a trial, which goes on after the call: whoever called may have lost the way
// here by it.
func (a *Alone) try(ctx context.Context, source schema.Source, config *schema.Config, timeout time.Duration) (*agentpb.ApplyResponse, error) {
	begun := make(chan *agentpb.ApplyResponse, 1)
	over := make(chan error, 1)
	a.trials.Go(func() {
		_, err := a.Try(context.WithoutCancel(ctx), source, config, timeout, func(plan *agentpb.Plan, path string, until time.Time) error {
			begun <- &agentpb.ApplyResponse{Plan: alone(plan), StoredAt: path, TrialUntil: timestamppb.New(until)}
			return nil
		})
		over <- err
	})
	select {
	case response := <-begun:
		return response, nil
	case err := <-over:
		return nil, err
	}
}

// Diff implements the API.
func (a *Alone) Diff(ctx context.Context, req *connect.Request[agentpb.DiffRequest]) (*connect.Response[agentpb.DiffResponse], error) {
	var config *schema.Config
	var err error
	if data := req.Msg.Config; data != nil {
		config, err = loadConfig(req.Msg.GetFilename(), data)
	} else {
		config, err = a.config()
	}
	response := &agentpb.DiffResponse{}
	if err == nil {
		response.Plan, err = a.Once.Diff(ctx, config)
	}
	return answer(response, err)
}

// Reload implements the API.
func (a *Alone) Reload(context.Context, *connect.Request[agentpb.ReloadRequest]) (*connect.Response[agentpb.ReloadResponse], error) {
	return nil, failed(a.NoAgent)
}

// Down implements the API.
func (a *Alone) Down(ctx context.Context, _ *connect.Request[agentpb.DownRequest]) (*connect.Response[agentpb.DownResponse], error) {
	response := &agentpb.DownResponse{}
	config, err := a.config()
	if err == nil {
		response.Plan, err = a.Once.Down(ctx, config)
	}
	alone(response.GetPlan())
	return answer(response, err)
}

// History implements the API.
func (a *Alone) History(_ context.Context, req *connect.Request[agentpb.HistoryRequest]) (*connect.Response[agentpb.HistoryResponse], error) {
	return answer(a.Once.History(int(req.Msg.GetNumber())))
}

// Rollback implements the API.
func (a *Alone) Rollback(ctx context.Context, req *connect.Request[agentpb.RollbackRequest]) (*connect.Response[agentpb.RollbackResponse], error) {
	plan, revision, err := a.Once.Rollback(ctx, int(req.Msg.GetNumber()))
	return answer(&agentpb.RollbackResponse{Plan: alone(plan), StoredAt: a.File.Path(), Revision: revisionOf(revision)}, err)
}

// Confirm implements the API.
func (a *Alone) Confirm(context.Context, *connect.Request[agentpb.ConfirmRequest]) (*connect.Response[agentpb.ConfirmResponse], error) {
	return answer(&agentpb.ConfirmResponse{}, a.Once.Confirm())
}

// RotateKey implements the API.
func (a *Alone) RotateKey(ctx context.Context, _ *connect.Request[agentpb.RotateKeyRequest]) (*connect.Response[agentpb.RotateKeyResponse], error) {
	config, err := a.config()
	if err != nil {
		return nil, failed(err)
	}
	response, err := a.Once.RotateKey(ctx, config)
	alone(response.GetPlan())
	return answer(response, err)
}

// List implements the API: the stored config is what there is to show.
func (a *Alone) List(_ context.Context, req *connect.Request[agentpb.ListRequest]) (*connect.Response[agentpb.ListResponse], error) {
	if !slices.Contains(resource.MachineConfigs.Aliases, strings.ToLower(req.Msg.GetType())) {
		return nil, failed(a.NoAgent)
	}
	return answer(a.show(req.Msg.GetReveal()))
}

func (a *Alone) show(reveal bool) (*agentpb.ListResponse, error) {
	if reveal && os.Geteuid() != 0 {
		return nil, errors.New("--show-secrets is for root alone")
	}
	name, data, err := a.File.Read()
	if err != nil {
		return nil, err
	}
	config, err := load.Config(name, data)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	return showConfig(config, info.ModTime(), reveal)
}

// Watch implements the API.
func (a *Alone) Watch(context.Context, *connect.Request[agentpb.WatchRequest], *connect.ServerStream[agentpb.WatchResponse]) error {
	return failed(a.NoAgent)
}

// Dial is a connection on which the API is answered.
func (a *Alone) Dial() (net.Conn, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make a pair of sockets: %w", err)
	}
	var ends [2]net.Conn
	for i, fd := range pair {
		file := os.NewFile(uintptr(fd), "socketpair")
		ends[i], err = net.FileConn(file)
		if err = errors.Join(err, file.Close()); err != nil {
			return nil, err
		}
	}
	server := newServer(context.Background(), a)
	go func() { _ = server.Serve(&oneConn{conn: ends[1], done: make(chan struct{})}) }() // it ends with the connection
	return ends[0], nil
}

// Wait waits for the end of what calls have begun.
func (a *Alone) Wait() { a.trials.Wait() }

// oneConn is a listener with a single connection, open for as long as the process is.
type oneConn struct {
	conn net.Conn
	once sync.Once
	done chan struct{}
}

func (l *oneConn) Accept() (conn net.Conn, err error) {
	l.once.Do(func() { conn = l.conn })
	if conn != nil {
		return conn, nil
	}
	<-l.done
	return nil, net.ErrClosed
}

func (l *oneConn) Close() error {
	close(l.done)
	return nil
}

func (l *oneConn) Addr() net.Addr { return l.conn.LocalAddr() }

// handler answers the API.
func handler(h agentpbconnect.AgentServiceHandler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle(agentpbconnect.NewAgentServiceHandler(h, connect.WithReadMaxBytes(maxRequest)))
	return mux
}

// newServer is a server of the API whose calls end with ctx.
func newServer(ctx context.Context, h agentpbconnect.AgentServiceHandler) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler:           handler(h),
		Protocols:         protocols,
		ReadHeaderTimeout: 10 * time.Second,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ConnContext:       withCaller,
	}
}
