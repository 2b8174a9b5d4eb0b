package ui

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/cmd/spanctl/agentpb/agentpbconnect"
	"github.com/spanmesh/span/cmd/spanctl/internal/agent"
	"github.com/spanmesh/span/reconciler/retry"
)

const (
	// pollPause is the time between two questions how a machine is, while a page is open.
	pollPause = time.Second
	// pollTimeout is how long the agent may take to answer one. It waits for nothing to do so.
	pollTimeout = 10 * time.Second
	// retryPause and retryPauseMax are the first and the longest pause after a failure in a row.
	retryPause    = time.Second
	retryPauseMax = 15 * time.Second
	// pingAfter and pingTimeout bound how long a connection that does not work any more is used.
	pingAfter   = 15 * time.Second
	pingTimeout = 10 * time.Second
	// maxAnswer is the largest answer of an agent in bytes.
	maxAnswer = 32 << 20
	// apiURL is the address of the API. Its host is not looked up.
	apiURL = "http://spanctl"
)

// Machine is a machine that the page shows.
type Machine struct {
	// ID is what the page calls it, without slashes.
	ID string
	// Dial connects to the machine's agent. Where none runs, it may connect to what answers GetHealth
	// in its place.
	Dial func(ctx context.Context) (net.Conn, error)
}

// reader asks a machine's agent, over one connection at a time.
type reader struct {
	machine   Machine
	board     *board
	explain   func(error) error
	transport *http.Transport
	agentpbconnect.AgentServiceClient

	mu sync.Mutex
	// conns are open.
	conns map[net.Conn]struct{}
	// away is set while no agent runs on the machine.
	away bool
}

func newReader(m Machine, b *board, explain func(error) error) *reader {
	r := &reader{machine: m, board: b, explain: explain, conns: map[net.Conn]struct{}{}}
	// HTTP/2 has all calls on one connection.
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	r.transport = &http.Transport{
		DialContext: r.dial,
		Protocols:   protocols,
		HTTP2:       &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
	}
	r.AgentServiceClient = agentpbconnect.NewAgentServiceClient(&http.Client{Transport: r.transport}, apiURL, connect.WithReadMaxBytes(maxAnswer))
	return r
}

// tracked is a connection that its reader knows while it is open.
type tracked struct {
	net.Conn
	forget func()
}

func (t *tracked) Close() error {
	t.forget()
	return t.Conn.Close()
}

func (r *reader) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	conn, err := r.machine.Dial(ctx)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conns[conn] = struct{}{}
	return &tracked{conn, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.conns, conn)
	}}, nil
}

// disconnect closes the connections: the next call makes another.
func (r *reader) disconnect() {
	r.transport.CloseIdleConnections()
	r.mu.Lock()
	var open []net.Conn
	for conn := range r.conns {
		open = append(open, conn)
	}
	clear(r.conns)
	r.mu.Unlock()
	for _, conn := range open {
		_ = conn.Close() // what it has to say came before
	}
}

// follow keeps the board up to date until ctx ends, while somebody looks at it.
func (r *reader) follow(ctx context.Context) {
	defer r.disconnect()
	var last *agentpb.GetHealthResponse
	var watching sync.WaitGroup
	defer watching.Wait()
	watched := make(chan struct{}, 1) // has a value while events are watched
	pauses := retry.New(retryPause, retryPauseMax)
	failed := ""
	for r.board.awaitWatched(ctx) == nil {
		pause := pollPause
		h, err := r.health(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			if failed != err.Error() {
				failed, last = err.Error(), nil
				r.board.setHealth(r.machine.ID, "", failureData(r.machine.ID, failed))
			}
			r.disconnect()
			pause = pauses.Next()
		default:
			if failed != "" || isChanged(last, h) {
				failed, last = "", h
				r.board.setHealth(r.machine.ID, h.GetHostname(), healthData(r.machine.ID, h))
			}
			if r.setAway(h.GetState() == agent.StateNoAgent) {
				// What answers in place of an agent would do so when one runs again.
				r.disconnect()
				pause = pauses.Next()
				break
			}
			pauses.Reset()
			select {
			case watched <- struct{}{}:
				watching.Go(func() {
					defer func() { <-watched }()
					r.watchEvents(ctx)
				})
			default:
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// setAway keeps whether no agent runs, and returns it.
func (r *reader) setAway(away bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.away = away
	return away
}

// isAway reports whether no agent runs, as far as is known.
func (r *reader) isAway() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.away
}

// health asks how the machine is.
func (r *reader) health(ctx context.Context) (*agentpb.GetHealthResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	response, err := r.GetHealth(ctx, connect.NewRequest(&agentpb.GetHealthRequest{}))
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return nil, fmt.Errorf("the agent has not answered within %v: it hangs, or the machine does", pollTimeout)
	case err != nil:
		return nil, r.explain(err)
	}
	return response.Msg, nil
}

// watchEvents adds the events of the agent to the board until the stream ends.
func (r *reader) watchEvents(ctx context.Context) {
	stream, err := r.Watch(ctx, connect.NewRequest(&agentpb.WatchRequest{Type: "events"}))
	if err != nil {
		return // the next answer about the health says why
	}
	defer func() { _ = stream.Close() }() // nothing is sent
	for first := true; stream.Receive(); first = false {
		var events []event
		for _, e := range stream.Msg().GetEvents() {
			if !e.GetDeleted() { // an old one, which the board drops by itself
				events = append(events, eventOf(e.GetResource()))
			}
		}
		if first || len(events) > 0 {
			r.board.addEvents(r.machine.ID, first, events)
		}
	}
}

func eventOf(resource *agentpb.Resource) event {
	spec := resource.GetSpec().GetFields()
	text := func(name string) string { return spec[name].GetStringValue() }
	return event{ID: resource.GetMetadata().GetId(), Time: text("lastTimestamp"), Type: text("severity"), Reason: text("reason"),
		Subject: text("object"), Message: text("message"), Count: int(spec["count"].GetNumberValue())}
}

// isChanged reports whether an answer says something that the one before did not.
func isChanged(before, after *agentpb.GetHealthResponse) bool {
	if before == nil {
		return true
	}
	was, is := proto.CloneOf(before), proto.CloneOf(after)
	was.Time, is.Time = nil, nil
	return !proto.Equal(was, is)
}

func healthData(id string, h *agentpb.GetHealthResponse) []byte {
	raw, err := answerJSON(h)
	if err != nil {
		return failureData(id, "the answer of the agent cannot be shown: "+err.Error())
	}
	data, err := json.Marshal(struct {
		Machine string          `json:"machine"`
		Health  json.RawMessage `json:"health"`
	}{id, raw})
	if err != nil {
		return failureData(id, "the answer of the agent cannot be shown: "+err.Error())
	}
	return data
}

func failureData(id, failure string) []byte {
	data, err := json.Marshal(struct {
		Machine string `json:"machine"`
		Error   string `json:"error"`
	}{id, failure})
	if err != nil {
		return []byte("{}") // strings are always JSON
	}
	return data
}

// answerJSON returns an answer of an agent as `spanctl status -o json` does: fields that are false
// or empty are there too.
func answerJSON(m proto.Message) (json.RawMessage, error) {
	return protojson.MarshalOptions{EmitDefaultValues: true}.Marshal(m)
}
