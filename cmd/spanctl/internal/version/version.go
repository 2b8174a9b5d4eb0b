// Package version tells which build this is. The linker sets the variables:
//
//	go build -ldflags "-X github.com/spanmesh/span/cmd/spanctl/internal/version.Version=v1.2.3 ..."
package version

var (
	// Version is the release, or what `git describe` says.
	Version = "dev"
	// Commit is the commit that was built.
	Commit = "unknown"
)
