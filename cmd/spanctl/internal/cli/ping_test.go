package cli

import (
	"errors"
	"io"
	"io/fs"
	"net/url"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/cmd/spanctl/internal/agent"
)

func TestPingLines(t *testing.T) {
	const endpoint = "203.0.113.9:51820"
	answer := func(rtt time.Duration) *agentpb.PingResponse {
		return &agentpb.PingResponse{Peer: "db1", Endpoint: endpoint, Rtt: durationpb.New(rtt)}
	}
	relayed := answer(24 * time.Millisecond)
	relayed.Relay = "db2"
	var tally pingTally
	for _, c := range []struct {
		response *agentpb.PingResponse
		want     string
	}{
		{answer(11234 * time.Microsecond), "db1: 11.2 ms via 203.0.113.9:51820"},
		{relayed, "db1: 24.0 ms via relay db2"},
		{&agentpb.PingResponse{Peer: "db1", BlindRelay: "hub"}, "db1: no answer via blind relay hub"},
		{&agentpb.PingResponse{Peer: "db1", BlindRelay: "hub", OverTcp: true}, "db1: no answer via blind relay hub over TCP"},
		{answer(0), "db1: answered via 203.0.113.9:51820"},
		{&agentpb.PingResponse{Peer: "db1", Endpoint: endpoint}, "db1: no answer via 203.0.113.9:51820"},
		{&agentpb.PingResponse{Peer: "db1", Error: "required key not available"}, "db1: not sent: required key not available"},
	} {
		if got := tally.add(c.response); got != c.want {
			t.Errorf("the line is %q, want %q", got, c.want)
		}
	}
	var out strings.Builder
	if err := tally.print(&out); err != nil {
		t.Fatal(err)
	}
	if want := "7 sent, 4 lost, min/avg/max 11.2 ms/17.6 ms/24.0 ms\n"; out.String() != want {
		t.Errorf("the sums are %q, want %q", out.String(), want)
	}

	out.Reset()
	tally = pingTally{sent: 3}
	var status exitStatus
	if err := tally.print(&out); !errors.As(err, &status) || status != exitError || out.String() != "3 sent, 3 lost\n" {
		t.Errorf("without an answer: %q, %v", out.String(), err)
	}
}

func TestMilliseconds(t *testing.T) {
	for d, want := range map[time.Duration]string{
		4 * time.Microsecond:       "0.00 ms",
		351 * time.Microsecond:     "0.35 ms",
		1234 * time.Microsecond:    "1.23 ms",
		9994 * time.Microsecond:    "9.99 ms",
		11234567 * time.Nanosecond: "11.2 ms",
		123 * time.Millisecond:     "123 ms",
		2500 * time.Millisecond:    "2500 ms",
	} {
		if got := milliseconds(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
}

func TestStatusOfAnAgentThatDidNotAnswer(t *testing.T) {
	agents, here := &connector{}, &connector{local: &agent.Local{}}
	answered := callError(connect.NewError(connect.CodeNotFound, errors.New("no such peer")))
	denied := callError(connect.NewError(connect.CodeUnavailable, &url.Error{Op: "Post", URL: apiURL, Err: fs.ErrPermission}))
	for _, c := range []struct {
		by   *connector
		err  error
		want int
	}{{agents, answered, exitError}, {here, answered, exitNoAnswer}, {agents, denied, exitNoAnswer}} {
		if got := status(Root(), c.by.agentError(c.err), io.Discard); got != c.want {
			t.Errorf("%v: exit %d, want %d", c.err, got, c.want)
		}
	}
}
