//go:build !linux

package store

import "go.etcd.io/bbolt"

// unmapPages does nothing.
func unmapPages(*bbolt.DB) {}
