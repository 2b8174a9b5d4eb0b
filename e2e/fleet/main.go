// Command fleet measures a discovery server and agents in a cluster of thousands of machines, on
// one. It starts the server on loopback, and two processes of its own with the machines: whole
// ones, which are agents with a kernel in memory, and light machines, which a server cannot tell from them
// (package simulated). It prints tables, and draws what happened.
//
//	fleet -binary bin/spanctl -machines 5000 -whole 20
//
// Server and machines share the processors, so times depend on them all. What each process used
// of the processors is its own.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	// The kernel kills what this program started when the thread that did ends.
	runtime.LockOSThread()
	if isGroup() {
		os.Exit(runGroup())
	}
	os.Exit(run())
}

// options are those of the command.
type options struct {
	binary, store string
	machines      int
	whole         int
	quick         bool
	// only are the phases to run after the storm; empty for all.
	only string
	// images is the directory of the pictures; "" for none. Record is the file to write what was
	// measured to, and from one to take it from instead of measuring.
	images, record, from string
	// profiles is a directory for profiles of the machines' processes; "" for none.
	profiles string
}

func run() int {
	o := options{}
	flag.StringVar(&o.binary, "binary", "bin/spanctl", "spanctl program to measure")
	flag.StringVar(&o.store, "store", "memory", "store of the server: memory, or bolt for one that survives restarts")
	flag.IntVar(&o.machines, "machines", 5000, "number of machines")
	flag.IntVar(&o.whole, "whole", 20, "how many of them are whole; the others are light machines")
	flag.BoolVar(&o.quick, "quick", false, "let phases last a fraction of their time, to test this program")
	flag.StringVar(&o.only, "only", "", "comma-separated phases to run after the storm: "+strings.Join(phaseNames()[1:], ", "))
	flag.StringVar(&o.images, "images", "", "directory to draw pictures in")
	flag.StringVar(&o.record, "record", "", "file to write what was measured to, in JSON")
	flag.StringVar(&o.from, "from", "", "file of -record to print and draw, in place of measuring")
	flag.StringVar(&o.profiles, "profiles", "", "directory to write profiles of the machines' processes to")
	flag.Parse()
	if err := o.check(); err != nil {
		fmt.Fprintln(os.Stderr, "fleet:", err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	r, err := o.recorded(ctx)
	if err == nil {
		err = o.report(r)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "fleet:", err)
		return 1
	}
	if missed := r.missed(); len(missed) > 0 {
		fmt.Printf("\nMissed:\n\n- %s\n", strings.Join(missed, "\n- "))
		return 1
	}
	return 0
}

// maxMachines is less than the affiliates that a server takes of a cluster by default.
const maxMachines = 9000

func (o options) check() error {
	switch {
	case o.machines < 2 || o.machines > maxMachines:
		return fmt.Errorf("-machines is %d: want 2 to %d", o.machines, maxMachines)
	case o.whole < 1 || o.whole > o.machines:
		return fmt.Errorf("-whole is %d: want 1 to -machines", o.whole)
	case o.store != "memory" && o.store != "bolt":
		return fmt.Errorf("-store is %q: want memory or bolt", o.store)
	}
	_, err := o.phases()
	return err
}

// recorded measures, or reads what was measured before.
func (o options) recorded(ctx context.Context) (r *record, err error) {
	if o.from != "" {
		return readRecord(o.from)
	}
	phases, err := o.phases()
	if err != nil {
		return nil, err
	}
	f, err := assemble(ctx, o)
	if err != nil {
		return nil, err
	}
	defer f.close()
	r = &record{Machines: o.machines, Whole: o.whole, Store: o.store, Cores: runtime.NumCPU(), Go: runtime.Version(), At: time.Now().UTC()}
	err = r.runAll(ctx, f, phases)
	r.Samples = f.samples
	if o.record != "" {
		// What was measured before an error is of use.
		err = errors.Join(err, r.write(o.record))
	}
	return r, err
}

// runAll runs phases, and records those that end.
func (r *record) runAll(ctx context.Context, f *fleet, phases []phase) error {
	for _, p := range phases {
		done, err := f.run(ctx, p)
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		r.Phases = append(r.Phases, done)
		fmt.Fprintf(os.Stderr, "%s: %s\n", p.name, done.summary())
	}
	return nil
}

// report prints the tables and draws the pictures.
func (o options) report(r *record) error {
	fmt.Print(r.tables())
	fmt.Println()
	fmt.Print(costsOf(r).tables())
	if o.images == "" {
		return nil
	}
	return errors.Join(r.draw(o.images), costsOf(r).draw(o.images))
}
