// Command load measures a discovery server under load, beside another build of it. It
// starts the servers on loopback, in turns, and prints a table with the server's own
// processor time, rates, delays and memory, their ratios, and which targets are missed.
//
//	load -binary bin/spanctl -base .cache/base/spanctl -etcd .tools/bin/etcd
//
// Server and load share the machine, so rates are of both. The load costs little: it
// speaks HTTP/2 and protobuf by hand, and one goroutine serves a connection.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	// The kernel kills the servers when the thread that started them ends.
	runtime.LockOSThread()
	os.Exit(run())
}

func run() int {
	o := options{}
	flag.StringVar(&o.binary, "binary", "bin/spanctl", "spanctl program to measure")
	flag.StringVar(&o.base, "base", "", "spanctl program to compare with; without it, no ratios are printed")
	flag.StringVar(&o.etcd, "etcd", "", "etcd program to measure the etcd store with; without it, that store is left out")
	flag.IntVar(&o.turns, "turns", 3, "how often to measure each build")
	flag.BoolVar(&o.quick, "quick", false, "measure a tenth of the load, to test this program")
	only := flag.String("only", "", "regular expression of measurements: "+strings.Join(names(measurements(true)), ", "))
	flag.Parse()
	var err error
	if o.only, err = regexp.Compile("^(" + *only + ")$"); err != nil {
		fmt.Fprintln(os.Stderr, "load: -only:", err)
		return 2
	}
	if o.turns < 1 {
		fmt.Fprintf(os.Stderr, "load: -turns is %d: want at least 1\n", o.turns)
		return 2
	}
	if *only == "" {
		o.only = regexp.MustCompile("")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	missed, err := o.run(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		return 1
	}
	if len(missed) > 0 {
		fmt.Printf("\nMissed:\n\n- %s\n", strings.Join(missed, "\n- "))
		return 1
	}
	return 0
}

func names(all []measurement) []string {
	var out []string
	for _, m := range all {
		out = append(out, m.name)
	}
	return out
}

// options are those of the command.
type options struct {
	binary, base, etcd string
	turns              int
	quick              bool
	only               *regexp.Regexp
}

// timeout bounds one measurement of one build.
const timeout = 5 * time.Minute

// run measures and prints the table. It returns the figures whose target is missed.
func (o options) run(ctx context.Context) (misses []string, err error) {
	fmt.Printf("%d cores, %s; server and load on one machine; medians of %d turns\n\n", runtime.NumCPU(), runtime.Version(), o.turns)
	fmt.Println("| | base | now | ratio | target | | `-only` |")
	fmt.Println("| --- | --- | --- | --- | --- | --- | --- |")
	for _, m := range measurements(o.etcd != "") {
		if !o.only.MatchString(m.name) {
			continue
		}
		base, now, err := o.measure(ctx, m)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m.name, err)
		}
		for i, f := range m.figures {
			row, verdict := f.row(m.name, column(base, i), column(now, i))
			fmt.Println(row)
			if verdict == missed {
				misses = append(misses, f.name)
			}
		}
	}
	return misses, nil
}

// column returns the i-th figure of each turn.
func column(turns [][]float64, i int) []float64 {
	var out []float64
	for _, figures := range turns {
		out = append(out, figures[i])
	}
	return out
}

// measure measures the builds in turns. Who begins alternates.
func (o options) measure(ctx context.Context, m measurement) (base, now [][]float64, err error) {
	builds := []struct {
		binary string
		into   *[][]float64
	}{{o.base, &base}, {o.binary, &now}}
	for turn := range o.turns {
		for i := range builds {
			build := builds[(i+turn)%len(builds)]
			if build.binary == "" {
				continue
			}
			figures, err := o.once(ctx, m, build.binary)
			if err != nil {
				return nil, nil, fmt.Errorf("%s: %w", build.binary, err)
			}
			*build.into = append(*build.into, figures)
		}
	}
	return base, now, nil
}

// once measures one build once.
func (o options) once(ctx context.Context, m measurement, binary string) ([]float64, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	dir, err := os.MkdirTemp("", "load")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	b := &bench{binary: binary, etcd: o.etcd, scale: 1, dir: dir}
	if o.quick {
		b.scale = 10
	}
	return m.run(ctx, b)
}
