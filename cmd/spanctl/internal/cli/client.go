package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/cmd/spanctl/agentpb/agentpbconnect"
	"github.com/spanmesh/span/cmd/spanctl/internal/agent"
	"github.com/spanmesh/span/cmd/spanctl/internal/configfile"
)

// errNoAgent says that nobody answers at the socket.
var errNoAgent = errors.New("no agent is running")

// dialTimeout is how long an agent may take to accept a call.
const dialTimeout = 5 * time.Second

// agent connects to the agent. Where there is none, what answers in its place does each
// thing in this process.
func (s *settings) agent(ctx context.Context, cmd *cobra.Command) (agentpbconnect.AgentServiceClient, error) {
	if s.host != "" {
		return s.remoteAgent(), nil
	}
	probe, err := s.dialAgent(ctx)
	if errors.Is(err, errNoAgent) {
		return s.alone(cmd)
	}
	if err != nil {
		return nil, err
	}
	if err := probe.Close(); err != nil {
		return nil, err
	}
	return clientBy(func(ctx context.Context, _, _ string) (net.Conn, error) { return s.dialAgent(ctx) }), nil
}

// dialAgent connects to the agent's socket. The error is errNoAgent where there is none.
func (s *settings) dialAgent(ctx context.Context) (net.Conn, error) {
	dialer := net.Dialer{Timeout: dialTimeout}
	conn, err := dialer.DialContext(ctx, "unix", s.socket)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ECONNREFUSED):
		return nil, s.noAgent()
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("not permitted to use the agent's socket %s: run as root", s.socket)
	case err != nil:
		return nil, fmt.Errorf("connect to the agent: %w", err)
	}
	return conn, nil
}

func (s *settings) noAgent() error {
	return fmt.Errorf("%w at %s: start one with `spanctl run`", errNoAgent, s.socket)
}

// aloneClient has the methods of the API called as they are.
type aloneClient struct{ *agent.Alone }

// Watch implements the API's client: there is nobody to follow.
func (c aloneClient) Watch(context.Context, *connect.Request[agentpb.WatchRequest]) (*connect.ServerStreamForClient[agentpb.WatchResponse], error) {
	return nil, c.NoAgent
}

// alone is what answers where no agent runs. It logs warnings only, since commands print
// what they do.
func (s *settings) alone(cmd *cobra.Command) (aloneClient, error) {
	quiet := *s
	if !cmd.Flags().Changed("log-level") && os.Getenv("SPANCTL_LOG_LEVEL") == "" {
		quiet.logLevel = "warn"
	}
	machine, err := quiet.machine(cmd.ErrOrStderr())
	if err != nil {
		return aloneClient{}, err
	}
	a := &agent.Alone{Once: agent.Once{Machine: machine, File: configfile.At(storedConfig())}, NoAgent: s.noAgent()}
	if cmd.Flags().Changed("config") {
		a.From, err = s.input(cmd)
	}
	return aloneClient{a}, err
}

// storedConfig is where a config is stored when there is no agent to say so.
func storedConfig() string { return cmp.Or(os.Getenv("SPANCTL_CONFIG"), defaultConfig) }

// remoteAgent is the agent of another machine, which is reached once it is called.
func (s *settings) remoteAgent() agentpbconnect.AgentServiceClient {
	return clientBy(func(ctx context.Context, _, _ string) (net.Conn, error) {
		socket := ""
		if s.socketSet {
			socket = s.socket
		}
		return dialSSH(ctx, s.host, socket)
	})
}

func clientBy(dial func(ctx context.Context, network, address string) (net.Conn, error)) agentpbconnect.AgentServiceClient {
	// The host is not looked up: dial knows the way.
	return agentpbconnect.NewAgentServiceClient(&http.Client{Transport: &http.Transport{DialContext: dial}}, "http://spanctl")
}

// message is an error in words for people; an agent's answer is in it without its code.
func message(err error) string {
	var answer *connect.Error
	if errors.As(err, &answer) {
		return strings.Replace(err.Error(), answer.Error(), answer.Message(), 1)
	}
	return err.Error()
}
