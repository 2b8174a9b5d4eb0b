// Package resolved tests the names of machines with a real systemd-resolved, which runs in a machine of the
// lab, on a D-Bus of its own.
package resolved
