package main

import (
	"errors"
	"fmt"
	"io"
	"net/rpc"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
	"time"

	"github.com/spanmesh/span/e2e/internal/process"
	"github.com/spanmesh/span/e2e/internal/simulated"
)

// The environment of a process with machines.
const (
	kindVariable     = "SPANCTL_FLEET_KIND"
	endpointVariable = "SPANCTL_FLEET_ENDPOINT"
	profilesVariable = "SPANCTL_FLEET_PROFILES"
)

// isGroup reports whether this process is one with machines.
func isGroup() bool { return os.Getenv(kindVariable) != "" }

// duplex joins the two ends of a process's pipes.
type duplex struct {
	io.Reader
	io.WriteCloser
}

// runGroup serves the process that started this one, until that ends.
func runGroup() int {
	if err := serveGroup(simulated.Kind(os.Getenv(kindVariable)), os.Getenv(profilesVariable)); err != nil {
		fmt.Fprintln(os.Stderr, "fleet:", err)
		return 1
	}
	return 0
}

func serveGroup(kind simulated.Kind, profiles string) error {
	cluster, err := simulated.NewCluster(os.Getenv(endpointVariable))
	if err != nil {
		return err
	}
	server := rpc.NewServer()
	if err := server.RegisterName("Group", simulated.NewGroup(kind, cluster)); err != nil {
		return err
	}
	stop := func() error { return nil }
	if profiles != "" {
		if stop, err = profile(filepath.Join(profiles, string(kind))); err != nil {
			return err
		}
	}
	server.ServeConn(duplex{os.Stdin, os.Stdout})
	return stop()
}

// profile begins a profile of the processor. Stop ends it and writes one of the heap.
func profile(name string) (stop func() error, err error) {
	cpu, err := os.Create(name + ".cpu")
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(cpu); err != nil {
		return nil, err
	}
	return func() error {
		pprof.StopCPUProfile()
		heap, err := os.Create(name + ".heap")
		if err != nil {
			return err
		}
		return errors.Join(cpu.Close(), pprof.WriteHeapProfile(heap), heap.Close())
	}, nil
}

// answerSoon is how long a sample waits for an answer.
const answerSoon = 20 * time.Millisecond

// group is a process with machines of one kind.
type group struct {
	*process.Process
	client *rpc.Client
	// asked is the question for its status that is not answered yet, and known the last answer.
	asked *rpc.Call
	known simulated.Status
	// asks is how many questions there were, answers how many of them were answered, and fresh is
	// the number of the first one whose answer is recent enough.
	asks, answers, fresh int
}

// startGroup starts a process with machines of a kind, without any yet.
func startGroup(kind simulated.Kind, endpoint, profiles string) (*group, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), kindVariable+"="+string(kind), endpointVariable+"="+endpoint, profilesVariable+"="+profiles)
	cmd.Stderr = os.Stderr
	to, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	from, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p, err := process.Start(cmd)
	if err != nil {
		return nil, err
	}
	return &group{Process: p, client: rpc.NewClient(duplex{from, to})}, nil
}

// do begins a change.
func (c *group) do(change simulated.Change) *rpc.Call {
	return c.client.Go("Group.Do", change, new(struct{}), make(chan *rpc.Call, 1))
}

// status returns the last status that is known. A process that is busy takes a while to answer, in
// which the server goes on being watched.
func (c *group) status() (simulated.Status, error) {
	if c.asked == nil {
		c.asks++
		c.asked = c.client.Go("Group.Status", struct{}{}, new(simulated.Status), make(chan *rpc.Call, 1))
	}
	select {
	case answer := <-c.asked.Done:
		c.asked = nil
		if answer.Error != nil {
			return c.known, answer.Error
		}
		c.known = *answer.Reply.(*simulated.Status)
		c.answers++
	case <-time.After(answerSoon):
	}
	return c.known, nil
}

func (c *group) heap() (bytes int64, err error) {
	err = c.client.Call("Group.Heap", struct{}{}, &bytes)
	return bytes, err
}

// close ends the machines and their process.
func (c *group) close() {
	_ = c.client.Close()
	c.Wait()
}
