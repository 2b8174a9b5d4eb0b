package interop

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/e2e/internal/nodecmd"
	"github.com/spanmesh/span/e2e/lab"
)

// Commands are what the test program runs inside of a node with this package.
var Commands = map[string]lab.Subcommand{
	"talos-peer":    talosPeer,
	"talos-node":    talosNode,
	"talos-service": talosService,
	"talos-crowd":   talosCrowd,
	"relay-member":  relayMember,
	"flood":         flood,
}

// talosPeer is a machine that joins as Talos does. The argument is a Peer in JSON.
func talosPeer(args []string) error {
	var p Peer
	if err := json.Unmarshal([]byte(args[0]), &p); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM)
	defer stop()
	fmt.Print(nodecmd.Ready)
	return p.Run(ctx, os.Stdout)
}

// talosCrowd is many machines that call when Talos does. The argument is a Crowd in JSON.
func talosCrowd(args []string) error {
	var c Crowd
	if err := json.Unmarshal([]byte(args[0]), &c); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM)
	defer stop()
	fmt.Print(nodecmd.Ready)
	return c.Run(ctx, os.Stdout)
}

// talosService is a discovery service. The argument is the address to listen on.
func talosService(args []string) error {
	listener, err := net.Listen("tcp", args[0])
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM)
	defer stop()
	fmt.Print(nodecmd.Ready)
	return Serve(ctx, listener)
}

// flood publishes args[1] affiliates at the service args[0], a host:port, and prints each
// that was acknowledged.
func flood(args []string) error {
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	fmt.Print(nodecmd.Ready)
	return Flood(context.Background(), args[0], "flood", n, 16, os.Stdout)
}
