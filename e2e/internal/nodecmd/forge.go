package nodecmd

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"golang.org/x/sys/unix"
)

// forgeCanary sends an IPv4 datagram between the ports of canaries with the address of another
// machine as its source. Its arguments are that address and the destination.
func forgeCanary(args []string) error {
	from, err := netip.ParseAddr(args[0])
	to, failure := netip.ParseAddr(args[1])
	if err := errors.Join(err, failure); err != nil {
		return err
	}
	// The kernel sets the length and the checksum of the IP header (raw(7)).
	packet := append([]byte{0x45, 0, 0, 0, 0, 0, 0, 0, 64, unix.IPPROTO_UDP, 0, 0}, from.AsSlice()...)
	packet = append(packet, to.AsSlice()...)
	const text = "forged"
	for _, field := range []int{canaryPort, canaryPort, 8 + len(text), 0} {
		packet = binary.BigEndian.AppendUint16(packet, uint16(field))
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return err
	}
	return errors.Join(unix.Sendto(fd, append(packet, text...), 0, &unix.SockaddrInet4{Addr: to.As4()}), unix.Close(fd))
}
