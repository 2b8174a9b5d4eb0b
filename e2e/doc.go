// Package e2e tests spanctl end to end: the binary that users run, as machines
// in namespaces (package lab) that mesh over real WireGuard.
//
// The tests read bin/spanctl, or what SPANCTL_BINARY names. They need root, or
// unprivileged user namespaces, and /dev/net/tun where the kernel has no
// WireGuard.
package e2e
