package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"
)

// sample is the state of a run at one time. Counters are those since the run began.
type sample struct {
	// At is in seconds since the run began.
	At    float64
	Phase phaseKind
	// Following and Knowing are how many machines follow the server and know all others.
	Following, Knowing int
	// KnowingWhole is the part of Knowing that is whole, and Outdated the part that also knows
	// machines that are gone.
	KnowingWhole, Outdated int
	// Server, Lights and Wholes are processor times, in seconds.
	Server, Lights, Wholes float64
	// Resident is the server's memory, in bytes.
	Resident int
	// Messages and Affiliates are those that light machines have received.
	Messages, Affiliates int64
	// Read and Written are bytes between the server and all machines, as those see it.
	Read, Written int64
	// Dials are connections.
	Dials int64
	// fresh is set if the machines' state is not older than what waits for it.
	fresh bool
}

// sample appends a sample.
func (f *fleet) sample() (s sample, err error) {
	s = sample{At: time.Since(f.began).Seconds(), Phase: f.phase, fresh: true}
	if s.Server, s.Resident, err = f.serverUsage(); err != nil {
		return s, err
	}
	for _, c := range []*group{f.lights, f.wholes} {
		status, err := c.status()
		if err != nil {
			return s, fmt.Errorf("a process with machines: %w", err)
		}
		used, err := c.CPU()
		if err != nil {
			return s, err
		}
		if c == f.lights {
			s.Lights = used.Seconds()
		} else {
			s.Wholes, s.KnowingWhole = used.Seconds(), status.Knowing
		}
		s.fresh = s.fresh && c.answers >= c.fresh
		s.Following += status.Following
		s.Knowing += status.Knowing
		s.Outdated += status.Outdated
		s.Messages += status.Messages
		s.Affiliates += status.Affiliates
		s.Read += status.Read
		s.Written += status.Written
		s.Dials += status.Dials
	}
	f.samples = append(f.samples, s)
	return s, nil
}

// serverUsage returns the processor time of all servers of the run, in seconds, and the memory
// of the present one.
func (f *fleet) serverUsage() (cpu float64, resident int, err error) {
	if f.server == nil {
		return f.before.Seconds(), 0, nil
	}
	used, err := f.server.CPU()
	if err != nil {
		return 0, 0, gone(err)
	}
	m, err := f.server.Memory()
	return (f.before + used).Seconds(), m.Resident, gone(err)
}

// gone explains the error of a process that has ended by itself.
func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return errors.New("the server has ended")
	}
	return err
}

// phaseRecord is what was measured in a phase. Times are in seconds, sizes in bytes.
type phaseRecord struct {
	Name phaseKind
	// From and To are the samples of the phase.
	From, To int
	Lasted   float64
	// Known is how long all machines took to know all after the last change, and KnownWhole
	// the whole ones of them.
	Known, KnownWhole float64
	// Server, Lights and Wholes are processor times of the phase.
	Server, Lights, Wholes float64
	// Most is the most memory that the server had.
	Most                     int
	Messages, Affiliates     int64
	Read, Written, Connected int64
	// Outdated is how many machines know some at the end that are gone.
	Outdated int
	// Heap is that of all whole machines at the end of a rest; 0 elsewhere.
	Heap int64
	// Faults are what did not go as planned.
	Faults []string
}

// end takes what the phase used from the samples.
func (d *phaseRecord) end(first sample, all []sample) {
	last := all[len(all)-1]
	d.To, d.Outdated = len(all)-1, last.Outdated
	d.Lasted = last.At - first.At
	d.Server, d.Lights, d.Wholes = last.Server-first.Server, last.Lights-first.Lights, last.Wholes-first.Wholes
	d.Messages, d.Affiliates = last.Messages-first.Messages, last.Affiliates-first.Affiliates
	d.Read, d.Written, d.Connected = last.Read-first.Read, last.Written-first.Written, last.Dials-first.Dials
	for _, s := range all[d.From:] {
		d.Most = max(d.Most, s.Resident)
	}
}

func (d *phaseRecord) summary() string {
	text := fmt.Sprintf("%.1f s, all know all after %.1f s, server %.2f s of processor time, %d MiB", d.Lasted, d.Known, d.Server, d.Most>>20)
	return strings.Join(append([]string{text}, d.Faults...), "; ")
}

// record is what a run has measured.
type record struct {
	Machines, Whole int
	Store           string
	Cores           int
	Go              string
	At              time.Time
	Phases          []phaseRecord
	Samples         []sample
}

func readRecord(path string) (*record, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r := new(record)
	if err := json.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

func (r *record) write(path string) error {
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o644)
}

// phase returns a phase; nil if it was not run.
func (r *record) phase(name phaseKind) *phaseRecord {
	for i := range r.Phases {
		if r.Phases[i].Name == name {
			return &r.Phases[i]
		}
	}
	return nil
}
