// Package release tests tools/release, which `make release` runs.
package release
