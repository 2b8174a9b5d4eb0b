package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/grpcreflect"
	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/cmd/spanctl/agentpb/agentpbconnect"
	"github.com/spanmesh/span/cmd/spanctl/internal/peercred"
)

const (
	// maxRequest is the largest request in bytes: a machine config in JSON's base64.
	maxRequest = 8 << 20
	// socketMask leaves a new socket to its owner.
	socketMask = 0o177
	// headerTimeout is how long a client may take to send the header of a request.
	headerTimeout = 10 * time.Second
	// shutdownTimeout is how long calls have to end once the server stops.
	shutdownTimeout = time.Second
)

// newServer makes a server of the API whose calls end with ctx.
func newServer(ctx context.Context, s *service) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+MetricsPath, s.serveMetrics)
	mux.Handle(agentpbconnect.NewAgentServiceHandler(s, connect.WithReadMaxBytes(maxRequest)))
	reflectService(mux, maxRequest)
	return &http.Server{
		Handler:           mux,
		Protocols:         protocols,
		ReadHeaderTimeout: headerTimeout,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ConnContext:       withCaller,
	}
}

// reflectService adds gRPC's server reflection, by which programs such as grpcurl learn the methods
// and messages of the API. Requests are limited in bytes.
func reflectService(mux *http.ServeMux, limit int) {
	reflector := grpcreflect.NewStaticReflector(agentpbconnect.AgentServiceName)
	mux.Handle(grpcreflect.NewHandlerV1(reflector, connect.WithReadMaxBytes(limit)))
	mux.Handle(grpcreflect.NewHandlerV1Alpha(reflector, connect.WithReadMaxBytes(limit)))
}

// serve answers the API until ctx ends.
func serve(ctx context.Context, listener net.Listener, s *service) error {
	server := newServer(ctx, s)
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
		defer cancel()
		err := server.Shutdown(ctx)
		if err != nil {
			err = server.Close()
		}
		stopped <- err
	})
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the API: %w", err)
	}
	return <-stopped
}

// listen opens the socket at path for its owner alone. A socket that nobody
// answers any more is replaced.
func listen(path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("make the socket's directory: %w", err)
	}
	if err := runsAlready(path); err != nil {
		return nil, err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("replace the old socket: %w", err)
	}
	// The mask is the process's: nothing else makes files yet.
	before := unix.Umask(socketMask)
	defer unix.Umask(before)
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen for the API: %w", err)
	}
	return listener, nil
}

// runsAlready returns an error that names the agent that has the socket at path; nil if there is none.
func runsAlready(path string) error {
	c, err := net.DialTimeout("unix", path, time.Second)
	if err != nil {
		return nil
	}
	defer func() { _ = c.Close() }()
	which := ""
	if socket, is := c.(*net.UnixConn); is {
		if other, err := peercred.Of(socket); err == nil {
			which = fmt.Sprintf(", process %d,", other.Pid)
		}
	}
	return fmt.Errorf("an agent runs already%s at %s", which, path)
}

// callerKey is the context key of the caller's credentials.
type callerKey struct{}

// withCaller adds the credentials of the process at the other end of a unix socket
// (unix(7), SO_PEERCRED).
func withCaller(ctx context.Context, c net.Conn) context.Context {
	socket, ok := c.(*net.UnixConn)
	if !ok {
		return ctx
	}
	credentials, err := peercred.Of(socket)
	if err != nil {
		return ctx
	}
	return context.WithValue(ctx, callerKey{}, credentials)
}

// isRoot reports whether root is calling.
func isRoot(ctx context.Context) bool {
	credentials, ok := ctx.Value(callerKey{}).(unix.Ucred)
	return ok && credentials.Uid == 0
}
