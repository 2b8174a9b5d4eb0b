package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// cost is what a process has used.
type cost struct {
	cpu time.Duration
	// resident is all memory of the process, in KiB.
	resident int
	// own is the anonymous memory, in KiB: all but the pages of the program's file.
	own int
	// share is the proportional set size, in KiB: each page divided by the number of
	// processes that have it.
	share int
}

// rest measures the processes while nothing happens.
func (m *mesh) rest(ctx context.Context, idle time.Duration) error {
	agents := make([]int, len(m.agents))
	for i, a := range m.agents {
		agents[i] = a.PID()
	}
	processes, err := wireguardProcesses(m.lab.Binary)
	if err != nil {
		return err
	}
	// The mesh settles first.
	if err := sleep(ctx, idle/2); err != nil {
		return err
	}
	before, err := costs(agents, processes)
	if err != nil {
		return err
	}
	if err := sleep(ctx, idle); err != nil {
		return err
	}
	after, err := costs(agents, processes)
	if err != nil {
		return err
	}
	report("WireGuard process", processes, before, after, idle)
	return keptAtRest(report("agent", agents, before, after, idle))
}

// What an agent may use at rest: a part of a core, and memory of its own in KiB. It used 9.2 MiB
// before it named what is wrong, kept samples and measured peers; these may take 2.
const (
	restCPU    = 0.002
	restMemory = 11.2 * mebi
)

// keptAtRest returns an error if an agent uses more than it may.
func keptAtRest(cpu, memory float64) error {
	var failures error
	if cpu > restCPU {
		failures = fmt.Errorf("an agent at rest uses %.2f %% of a core, promised are %.1f", 100*cpu, 100*restCPU)
	}
	if memory > restMemory {
		failures = errors.Join(failures, fmt.Errorf("an agent at rest has %.1f MiB of its own, promised are %.1f", memory/mebi, restMemory/mebi))
	}
	return failures
}

// mebi is a MiB in KiB.
const mebi = 1 << 10

// wireguardProcesses returns the processes of this binary that run WireGuard.
func wireguardProcesses(binary string) (pids []int, err error) {
	paths, err := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range paths {
		command, _ := os.ReadFile(path)
		if strings.HasPrefix(string(command), binary+"\x00wireguard-process\x00") {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			if err != nil {
				return nil, err
			}
			pids = append(pids, pid)
		}
	}
	return pids, err
}

func costs(lists ...[]int) (map[int]cost, error) {
	all := map[int]cost{}
	for _, pid := range slices.Concat(lists...) {
		c, err := costOf(pid)
		if err != nil {
			return nil, err
		}
		all[pid] = c
	}
	return all, nil
}

// ticks is how many clock ticks the kernel counts in a second (proc(5); USER_HZ
// is 100 on every architecture that Go runs on).
const ticks = 100

// costOf reads what a process has used (proc(5): utime and stime are the 14th and
// 15th field of stat; the memory is in smaps_rollup).
func costOf(pid int) (cost, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return cost{}, err
	}
	// The second field, in parentheses, may have spaces.
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	memory, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return cost{}, err
	}
	var used int
	for _, field := range fields[11:13] {
		n, err := strconv.Atoi(field)
		if err != nil {
			return cost{}, err
		}
		used += n
	}
	c := cost{cpu: time.Duration(used) * time.Second / ticks}
	for line := range strings.Lines(string(memory)) {
		name, value, _ := strings.Cut(line, ":")
		switch name {
		case "Rss":
			_, err = fmt.Sscanf(value, "%d", &c.resident)
		case "Pss":
			_, err = fmt.Sscanf(value, "%d", &c.share)
		case "Anonymous":
			_, err = fmt.Sscanf(value, "%d", &c.own)
		}
		if err != nil {
			return cost{}, fmt.Errorf("read %s of process %d: %w", name, pid, err)
		}
	}
	return c, nil
}

// report prints what processes have used on average, and returns the part of a core and the memory of
// its own, in KiB.
func report(what string, pids []int, before, after map[int]cost, idle time.Duration) (core, memory float64) {
	if len(pids) == 0 {
		return 0, 0
	}
	var cpu time.Duration
	var resident, own, share int
	for _, pid := range pids {
		cpu += after[pid].cpu - before[pid].cpu
		resident += after[pid].resident
		own += after[pid].own
		share += after[pid].share
	}
	n := float64(len(pids))
	core, memory = cpu.Seconds()/idle.Seconds()/n, float64(own)/n
	fmt.Printf("| %s at rest, of a core | %.2f %% |\n", what, 100*core)
	fmt.Printf("| %s at rest, memory of its own | %.1f MiB |\n", what, memory/mebi)
	fmt.Printf("| %s at rest, with its share of the program's file | %.1f MiB |\n", what, float64(share)/n/mebi)
	fmt.Printf("| %s at rest, resident, with all of the program's file | %.1f MiB |\n", what, float64(resident)/n/mebi)
	return core, memory
}
