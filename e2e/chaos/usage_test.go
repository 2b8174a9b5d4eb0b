package chaos

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"

	"github.com/spanmesh/span/cmd/spanctl/agentpb"
	"github.com/spanmesh/span/e2e/internal/harness"
)

// usage is what a process uses.
type usage struct {
	// at is when it did, for the first of looks.
	at                           time.Time
	looks                        int
	pid, descriptors, goroutines int
	// memory is that which is its own and resident, in bytes.
	memory int
}

// How much more than at first a process may use when all is well.
const (
	// settling is how long a process may come to use more: the garbage collector of Go lets a heap grow
	// to a multiple of what is in use before it runs for the first time.
	settling = time.Minute
	// leastLooks is how many looks there are in that time at least: at the first one, not all clients of a
	// server may be back.
	leastLooks = 8
	// moreDescriptors are those of a client that follows two servers by the other protocol, over HTTP/1.1.
	moreDescriptors = 8
	moreGoroutines  = 10
	moreMemory      = 8 << 20
)

// checkUsage compares what the processes use with what they used when all was well for the first time.
func (w *world) checkUsage() (problems []problem) {
	ctx, cancel := context.WithTimeout(w.t.Context(), answering)
	defer cancel()
	for _, n := range w.nodes {
		now, err := usageOf(n.Agent.PID())
		w.fault(err)
		support, err := n.client().GetSupport(ctx, connect.NewRequest(&agentpb.GetSupportRequest{}))
		if err != nil {
			return append(problems, problem{"answer", n.Name + ": " + err.Error()})
		}
		now.goroutines = int(support.Msg.GetUsage()["goroutines"])
		problems = append(problems, compare("the agent of "+n.Name, &n.first, now)...)
	}
	for _, s := range w.servers {
		now, err := usageOf(s.process.PID())
		w.fault(err)
		if now.goroutines, err = goroutines(ctx, harness.URL(s.machine)); err != nil {
			return append(problems, problem{"answer", s.machine.Name + ": " + err.Error()})
		}
		problems = append(problems, compare("the server of "+s.machine.Name, &s.first, now)...)
	}
	return problems
}

// compare compares what a process uses with what it used at first.
func compare(whose string, first **usage, now usage) (problems []problem) {
	if *first == nil || (*first).pid != now.pid {
		*first = &now
		return nil
	}
	f := *first
	f.looks++
	if now.at.Sub(f.at) < settling || f.looks < leastLooks {
		f.descriptors, f.goroutines, f.memory = max(f.descriptors, now.descriptors), max(f.goroutines, now.goroutines), max(f.memory, now.memory)
		return nil
	}
	add := func(what string, before, after int) {
		problems = append(problems, problem{what, fmt.Sprintf("%s had %d %s at first, and has %d", whose, before, what, after)})
	}
	if now.descriptors > f.descriptors+moreDescriptors {
		add("descriptors", f.descriptors, now.descriptors)
	}
	if now.goroutines > f.goroutines+moreGoroutines {
		add("goroutines", f.goroutines, now.goroutines)
	}
	if now.memory > f.memory+moreMemory {
		add("memory", f.memory, now.memory)
	}
	return problems
}

// usageOf returns what a process uses, without its goroutines.
func usageOf(pid int) (usage, error) {
	descriptors, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return usage{}, err
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return usage{}, err
	}
	_, resident, _ := strings.Cut(string(status), "RssAnon:")
	resident, _, _ = strings.Cut(resident, "kB")
	kib, err := strconv.Atoi(strings.TrimSpace(resident))
	return usage{at: time.Now(), pid: pid, descriptors: len(descriptors), memory: kib << 10}, err
}

// goroutines returns those of a discovery server, by its metrics.
func goroutines(ctx context.Context, url string) (int, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(request)
	if err != nil {
		return 0, err
	}
	defer func() { _ = response.Body.Close() }()
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), "go_goroutines "); ok {
			return strconv.Atoi(value)
		}
	}
	return 0, errors.New("the metrics have no go_goroutines")
}
