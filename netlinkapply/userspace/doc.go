// Package userspace runs WireGuard in a process of its own, for kernels without WireGuard.
//
//	agent --Start--> Main: makes the TUN device and the control socket
//	                   `--> Main: serves both in a session of its own
//
// Start runs Main in a child. The child passes the device and the socket to a second process
// and ends. The second process serves until its link is deleted. Its control socket is at
// WireGuard's usual path: Exists connects to it, Stop ends the process.
//
// The functions may be called concurrently for different links.
package userspace
