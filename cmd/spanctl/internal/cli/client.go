package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/cmd/spanctl/agentpb/agentpbconnect"
)

// errNoAgent says that nobody answers at the socket.
var errNoAgent = errors.New("no agent is running")

// dialTimeout is how long an agent may take to accept a call.
const dialTimeout = 5 * time.Second

// agent connects to the agent. The error is errNoAgent where there is none.
func (s *settings) agent(ctx context.Context) (agentpbconnect.AgentServiceClient, error) {
	if s.host != "" {
		return s.remoteAgent(), nil
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		dialer := net.Dialer{Timeout: dialTimeout}
		return dialer.DialContext(ctx, "unix", s.socket)
	}
	probe, err := dial(ctx, "", "")
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ECONNREFUSED):
		return nil, fmt.Errorf("%w at %s: start one with `spanctl run`", errNoAgent, s.socket)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("not permitted to use the agent's socket %s: run as root", s.socket)
	case err != nil:
		return nil, fmt.Errorf("connect to the agent: %w", err)
	}
	if err := probe.Close(); err != nil {
		return nil, err
	}
	return clientBy(dial), nil
}

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

// message is an error in words for people; of an agent's answer, what it said.
func message(err error) string {
	var answer *connect.Error
	if errors.As(err, &answer) {
		return answer.Message()
	}
	return err.Error()
}
