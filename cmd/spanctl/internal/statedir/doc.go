// Package statedir is the directory in which a machine keeps what must outlive
// a reboot: its identity, what discovery last knew, the last configs that were in
// force, and until when the newest is on trial.
//
// node-identity.yaml and kubespan-identity.yaml have the fields that Talos gives
// them. Files are mode 0600 and written whole: to a temporary file, synced, and
// renamed over the old one, so that a crash leaves the old file or the new one.
//
// One process at a time works with a directory; Open sees to that with a lock.
// A Dir is safe for concurrent use.
package statedir
