// Package soak uses a discovery server for a long time under everything that happens to one:
// churn, readers that stop, restarts, kills and a full disk.
//
// Writers note in a ledger what the server acknowledged (ledger.go, writer.go), watchers keep
// what they were sent (watcher.go). Between two incidents both must agree with what the server
// lists. At the end the server's resident memory must be where it began.
package soak
