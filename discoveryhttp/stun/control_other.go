//go:build !linux

package stun

import "net"

const controlSize = 0

// tellDestination does nothing: answers leave from the address that the system chooses.
func tellDestination(*net.UDPConn) error { return nil }

func replyControl([]byte) []byte { return nil }
