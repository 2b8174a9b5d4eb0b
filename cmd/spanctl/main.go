// Command spanctl joins a Linux machine to a KubeSpan mesh, and hosts the
// discovery that the machines of a mesh find each other by.
package main

import (
	"os"

	"github.com/spanmesh/span/cmd/spanctl/internal/cli"
)

func main() { os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }
