package harness

import (
	"net/netip"
	"strconv"
)

// PodsReachEachOther sends traffic between two pods over all their networks. The second
// address of a network is the pod's.
func PodsReachEachOther(pods []*Machine, networks [][]string) {
	for i, from := range pods {
		from.t.Helper()
		for _, network := range networks[1-i] {
			address := netip.MustParsePrefix(network).Addr().Next().Next()
			from.Packets.Ping(address)
			from.Packets.Transfer(pods[1-i], address, 4<<20)
			// The largest packet that the tunnel carries.
			from.Exec.Nodecmd("ping-unbroken", address.String(), strconv.Itoa(1420))
		}
	}
}
