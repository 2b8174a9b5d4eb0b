//go:build !linux

package udp

import (
	"net"
	"net/netip"
)

const controlSize = 0

// setOptions does nothing: the system chooses the address that packets leave from.
func setOptions(*net.UDPConn) (segments bool, err error) { return false, nil }

func parseControl([]byte) (netip.Addr, int) { return netip.Addr{}, 0 }

func appendControl(control []byte, _ netip.Addr, _ int) []byte { return control }

func failsInParts(error) (alone, always bool) { return false, false }
