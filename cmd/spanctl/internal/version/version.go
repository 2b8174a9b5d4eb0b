// Package version has the version of this build. The linker sets the variables:
//
//	go build -ldflags "-X github.com/spanmesh/span/cmd/spanctl/internal/version.Version=v1.2.3 ..."
package version

var (
	// Version is the release, or the output of `git describe`.
	Version = "dev"
	// Commit is the commit that was built.
	Commit = "unknown"
)
