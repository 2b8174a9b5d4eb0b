package echo

import (
	"fmt"
	"os"
	"testing"

	"github.com/spanmesh/span/netlinkapply/netnstest"
)

func TestMain(m *testing.M) {
	os.Exit(netnstest.Main(func() int {
		// Everyone may open a datagram socket.
		if err := os.WriteFile("/proc/sys/net/ipv4/ping_group_range", []byte("0 0"), 0); err != nil {
			fmt.Fprintln(os.Stderr, "permit ICMP sockets:", err)
			return 1
		}
		return m.Run()
	}))
}
