package relayprocess

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strconv"

	"github.com/spanmesh/span/netlinkapply"
	"github.com/spanmesh/span/netlinkapply/detached"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/relay/front"
)

// Command is the name of the command that calls Main. The directory, the port and the mark follow it.
const Command = "relay-process"

// socketName is the name of the control socket.
const socketName = "control"

// The most machines of an Admission: a request has at most detached.MaxMessage bytes.
const (
	maxMembers      = 10_000
	maxWithoutAgent = 5_000
)

// Admission has the public keys of the machines that may use a relay.
type Admission struct {
	// Members register with the relay. WithoutAgent do not.
	Members      []mesh.Key `json:"members"`
	WithoutAgent []mesh.Key `json:"withoutAgent"`
	// Complete is set where these are all: others leave.
	Complete bool `json:"complete"`
}

// request asks a relay for its State.
type request struct {
	// Admit replaces the admission; nil leaves it.
	Admit *Admission `json:"admit,omitempty"`
}

// State is what a relay is and has done.
type State struct {
	// PID is the ID of its process. A new process has no admission.
	PID int `json:"pid"`
	// Key is its public key.
	Key mesh.Key `json:"key"`
	// Port is its UDP port, and Mark the firewall mark of its packets.
	Port uint16 `json:"port"`
	Mark uint32 `json:"mark"`
	// Counts are what it has done since it was started.
	Counts front.Counts `json:"counts"`
	// Fault says why the request was not carried out in whole; empty if it was. The relay serves all the
	// same.
	Fault string `json:"fault,omitempty"`
}

// ErrNone is the error of Ask where there is no relay.
var ErrNone = detached.ErrNone

// Ask returns the state of the relay of a directory. If admit is not nil, it sets the admission first:
// 10,000 members at most, and 5,000 machines without an agent.
func Ask(ctx context.Context, dir string, admit *Admission) (state State, err error) {
	if admit != nil {
		admit = &Admission{Members: admit.Members[:min(len(admit.Members), maxMembers)],
			WithoutAgent: admit.WithoutAgent[:min(len(admit.WithoutAgent), maxWithoutAgent)], Complete: admit.Complete}
	}
	text, err := json.Marshal(request{admit})
	if err != nil {
		return state, err
	}
	answer, err := detached.Call(ctx, dir, socketName, text)
	if err != nil {
		return state, fmt.Errorf("ask the relay process: %w", err)
	}
	if err := json.Unmarshal(answer, &state); err != nil {
		return State{}, fmt.Errorf("ask the relay process: its answer has %d bytes and cannot be read: %w", len(answer), err)
	}
	return state, nil
}

// Start starts the relay of a directory at a UDP port, with the program at a path. It returns once the
// relay serves.
func Start(ctx context.Context, program, dir string, port uint16, mark uint32) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	return detached.Start(ctx, []string{program, Command, dir, strconv.Itoa(int(port)), strconv.FormatUint(uint64(mark), 10)})
}

// Try returns why no relay could be started at a UDP port; nil if one can. There must be none at it.
func Try(ctx context.Context, port uint16, mark uint32) error {
	conn, err := netlinkapply.ListenMarked(ctx, port, mark)
	if err != nil {
		return err
	}
	return conn.Close()
}

// End ends the relay of a directory. That there is none is no error.
func End(ctx context.Context, dir string) error { return detached.End(ctx, dir, socketName) }
