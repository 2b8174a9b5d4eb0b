// Command soak uses a discovery server for a long time: churn, readers that stop, kills,
// restarts and a full disk.
//
//	soak -binary bin/spanctl -for 20m
//
// It fails if a write is lost that the server acknowledged, or if the server's resident memory
// does not end where it began. The server and its clients run in network namespaces.
package main

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/e2e/internal/attack"
	"github.com/spanmesh/span/e2e/internal/soak"
	"github.com/spanmesh/span/e2e/lab"
)

func main() {
	commands := maps.Clone(attack.Commands)
	maps.Copy(commands, soak.Commands)
	os.Exit(lab.Main(commands, run))
}

func run() int {
	o := soak.Options{Growth: soak.Growth, Log: os.Stdout}
	flag.StringVar(&o.Binary, "binary", "bin/spanctl", "spanctl program to soak")
	flag.DurationVar(&o.Lasting, "for", 20*time.Minute, "how long to soak it, beside the time that checks take")
	flag.IntVar(&o.Cycles, "cycles", 20, "number of incidents")
	flag.Parse()
	if o.Cycles < 2 {
		fmt.Fprintln(os.Stderr, "soak: -cycles is too small: want at least 2")
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	began := time.Now()
	if err := soak.Run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		return 1
	}
	fmt.Printf("soaked for %v: no acknowledged write was lost, and memory ended where it began\n", time.Since(began).Round(time.Second))
	return 0
}
