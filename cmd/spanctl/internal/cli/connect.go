package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"sync"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/cmd/spanctl/agentpb/agentpbconnect"
	"github.com/spanmesh/span/cmd/spanctl/internal/agent"
)

// dialTimeout is how long an agent may take to accept a call.
const dialTimeout = 5 * time.Second

// apiURL is the address of the API. Its host is not looked up: connector knows the way.
const apiURL = "http://spanctl"

// connector connects a command to the API: the agent's on another machine or on this one,
// or where none runs that of its own process.
type connector struct {
	globals
	// socketSet is set where a flag names the socket.
	socketSet bool
	// logTo is where this process logs if it answers itself.
	logTo io.Writer
	// detached is set while ssh must not ask at the terminal.
	detached bool

	// http sends requests to the server of the API.
	http *http.Client

	mu sync.Mutex
	// local answers in this process; nil until it is needed.
	local *agent.Local
}

// connector returns the one for a command. It connects with the first call.
func (g *globals) connector(cmd *cobra.Command) *connector {
	c := &connector{globals: *g, socketSet: cmd.Flags().Changed("socket"), logTo: cmd.ErrOrStderr()}
	if !cmd.Flags().Changed("log-level") && os.Getenv("SPANCTL_LOG_LEVEL") == "" {
		c.logLevel = "warn" // commands print what they do
	}
	return c
}

// dial connects to the server of the API.
func (c *connector) dial(ctx context.Context) (net.Conn, error) {
	if c.host != "" {
		socket := ""
		if c.socketSet {
			socket = c.socket
		}
		return dialSSH(ctx, c.host, socket, c.detached)
	}
	dialer := net.Dialer{Timeout: dialTimeout}
	conn, err := dialer.DialContext(ctx, "unix", c.socket)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ECONNREFUSED):
		return c.dialLocal()
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("not permitted to use the agent's socket %s: run as root", c.socket)
	case err != nil:
		return nil, fmt.Errorf("connect to the agent: %w", err)
	}
	return conn, nil
}

func (c *connector) dialLocal() (net.Conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.local == nil {
		machine, err := c.machine(c.logTo)
		if err != nil {
			return nil, err
		}
		c.local = agent.NewLocal(machine, storedConfig())
	}
	return c.local.Dial()
}

// isAgents reports whether calls were answered by another process: an agent, unless ssh reached a
// machine without one.
func (c *connector) isAgents() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.local == nil
}

// awaitTrial waits for the end of a trial that began in this process. It returns nil
// where there is none.
func (c *connector) awaitTrial(ctx context.Context) (*agent.TrialEnd, error) {
	c.mu.Lock()
	local := c.local
	c.mu.Unlock()
	if local == nil {
		return nil, nil
	}
	return local.AwaitTrial(ctx)
}

// client returns a client of the API. Close must be called after its last call.
func (c *connector) client() (client agentpbconnect.AgentServiceClient, closeClient func() error) {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return c.dial(ctx) }}
	closeClient = func() error {
		transport.CloseIdleConnections()
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.local == nil {
			return nil
		}
		return c.local.Close(context.Background())
	}
	c.http = &http.Client{Transport: transport}
	watch := &guard{health: agentpbconnect.NewAgentServiceClient(c.http, apiURL), hangs: c.noAnswer, isAgents: c.isAgents}
	return agentpbconnect.NewAgentServiceClient(c.http, apiURL, connect.WithInterceptors(watch)), closeClient
}

// caller is a call of the API.
type caller[Q, R any] func(context.Context, *connect.Request[Q]) (*connect.Response[R], error)

// call makes a call of the API, without the wrapping of requests and responses.
func call[Q, R any](ctx context.Context, do caller[Q, R], request *Q) (*R, error) {
	response, err := do(ctx, connect.NewRequest(request))
	if err != nil {
		return nil, callError(err)
	}
	return response.Msg, nil
}

// callError is the error of a call for people: what dial said, or the answer without the
// name of its code.
func callError(err error) error {
	var transport *url.Error
	var answer *connect.Error
	switch {
	case errors.As(err, &transport):
		return transport.Err
	case errors.As(err, &answer):
		return answerError{answer}
	default:
		return err
	}
}

// answerError is an error that the API answered with.
type answerError struct{ answer *connect.Error }

func (e answerError) Error() string { return e.answer.Message() }

func (e answerError) Unwrap() error { return e.answer }
