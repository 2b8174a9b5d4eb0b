// Package statedir reads and writes the directory with what must survive a reboot: the
// machine's identity, the caches of registries, the last good endpoints, the history of
// configs, and the record of a trial.
//
// node-identity.yaml and kubespan-identity.yaml have the fields that they have in Talos.
// Files are mode 0600 and written as package durable does, so that a crash leaves the
// old file or the new one.
//
// One process at a time changes a directory: Lock keeps the others out. A Dir is safe for
// concurrent use.
package statedir
