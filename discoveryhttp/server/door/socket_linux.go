package door

import (
	"net"

	"golang.org/x/sys/unix"
)

// maxUnsent is how much that was not sent yet the kernel keeps for a connection, in bytes.
const maxUnsent = 128 << 10

// tune bounds what the kernel keeps for a client that does not read, and has a blocked
// write go on as soon as the client has read a little: by default the kernel waits until a
// third of a buffer of up to 4 MiB is free, which takes a slow client longer than a deadline.
func tune(c net.Conn) {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return
	}
	if raw, err := tcp.SyscallConn(); err == nil {
		// A kernel without the option works as it did.
		_ = raw.Control(func(fd uintptr) {
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, maxUnsent)
		})
	}
}
