// Command attack attacks a discovery server in every way that package attack knows, one after
// the other. It prints a table of the server's memory before, during and after each attack,
// and of what a well-behaved client met meanwhile.
//
//	attack -binary bin/spanctl
//
// It fails if a server did not withstand an attack. Servers and attackers run in network
// namespaces, and share the machine.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/e2e/internal/attack"
	"github.com/spanmesh/span/e2e/lab"
)

func main() { os.Exit(lab.Main(attack.Commands, run)) }

func run() int {
	var o attack.Options
	flag.StringVar(&o.Binary, "binary", "bin/spanctl", "spanctl program to attack")
	flag.DurationVar(&o.Hold, "hold", 15*time.Second, "how long each attack goes on")
	flag.DurationVar(&o.Settle, "settle", 2*time.Minute, "how long the server may take to free its memory after each attack")
	flag.IntVar(&o.Scale, "scale", 1, "divide the size of the attacks, to test this program")
	only := flag.String("only", ".", "regular expression of the names of the attacks")
	list := flag.Bool("list", false, "print the names of the attacks")
	flag.Parse()
	wanted, err := regexp.Compile("^(" + *only + ")")
	if err != nil {
		fmt.Fprintln(os.Stderr, "attack: -only:", err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	var chosen []attack.Attack
	for _, a := range attack.All() {
		if wanted.MatchString(a.Name) {
			chosen = append(chosen, a)
		}
	}
	if *list {
		for _, a := range chosen {
			fmt.Printf("%s: %s\n", a.Name, a.What)
		}
		return 0
	}
	return attackAll(ctx, o, chosen)
}

// attackAll runs attacks and returns the exit status.
func attackAll(ctx context.Context, o attack.Options, chosen []attack.Attack) (status int) {
	fmt.Printf("%d cores, %s; resident memory in MiB; server, attacker and client on one machine\n\n%s\n", runtime.NumCPU(), runtime.Version(), attack.Header)
	for _, a := range chosen {
		result, err := attack.Run(ctx, o, a)
		if ctx.Err() != nil {
			return 1
		}
		if err == nil {
			fmt.Println(result.Row())
			err = result.Check()
		}
		if err != nil {
			fmt.Fprintf(os.Stderr, "attack: %s: %v\n", a.Name, err)
			status = 1
		}
	}
	return status
}
