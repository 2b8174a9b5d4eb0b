package health

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/spanmesh/span/reconciler/condition"
)

func TestMembers(t *testing.T) {
	many := make([]string, maxNamed+1)
	for i := range many {
		many[i] = fmt.Sprintf("n%d", i)
	}
	const nobody = "NoOtherMembers: nobody else is in cluster 7f3a-91c0: compare the cluster"
	for _, test := range []struct {
		name    string
		members Members
		want    []string
	}{
		{"without discovery", Members{}, nil},
		{"alone", Members{Answered: true}, []string{nobody}},
		{"discovery has not answered", Members{}, nil},
		{"one other", Members{Answered: true, Others: 1}, nil},
		{"one other that is not used", Members{Answered: true, Refused: 1}, nil},
		{"the only other one cannot be read", Members{Answered: true, Unreadable: []string{"n1"}}, []string{
			"SecretDiffers: the only other machine of the cluster, n1, cannot be read: copy cluster.secret from one that works"}},
		{"none can be read", Members{Answered: true, Unreadable: []string{"n1", "n2"}}, []string{
			"SecretDiffers: none of the 2 other machines can be read: copy cluster.secret from one that works"}},
		{"one cannot be read", Members{Answered: true, Others: 1, Unreadable: []string{"n1"}}, []string{
			"SecretDiffersThere n1: n1 cannot be read: correct cluster.secret there"}},
		{"one that was known cannot be read", Members{Answered: true, Others: 1, Unreadable: []string{"n1"}, Before: map[string]string{"n1": "db1 (192.0.2.7)"}}, []string{
			"SecretDiffersThere n1: n1, which was db1 (192.0.2.7), cannot be read: correct cluster.secret there"}},
		{"anyone has published much", Members{Answered: true, Others: 1, Unreadable: many}, []string{
			"SecretDiffersThere: 9 machines cannot be read: n0, n1, n2, n3, n4, n5, n6, n7, …: correct cluster.secret there"}},
		{"one hostname", Members{Answered: true, Others: 1, Repeated: []Repeat{{Hostname: "vm", Machines: []string{"n1", "n2"}}}}, []string{
			"HostnameRepeated vm: 2 machines have this hostname: n1, n2: give each its own hostname"}},
		{"one hostname, and names in the mesh", Members{Answered: true, Others: 1, Repeated: []Repeat{{"vm", []string{"n1", "n2"}, []string{"vm-0a1b", "vm-2c3d"}}}}, []string{
			"HostnameRepeated vm: 2 machines have this hostname: n1, n2; none is found by it, but by vm-0a1b, vm-2c3d: give each its own hostname"}},
		{"a relay", Members{Answered: true, Others: 1, Relay: Relay{Offered: true, IPv6: true, IPv4: true}}, nil},
		{"no relay", Members{Answered: true, Others: 1}, nil},
		{"a relay that does not forward", Members{Answered: true, Others: 1, Relay: Relay{Offered: true}}, []string{
			"RelayNotForwarding: relay.forwarding.offer is set, and forwarding of IPv6 and IPv4 is off: `sysctl -w net.ipv6.conf.all.forwarding=1 net.ipv4.ip_forward=1`"}},
		{"a relay for IPv6 alone", Members{Answered: true, Others: 1, Relay: Relay{Offered: true, IPv6: true}}, []string{
			"RelayNotForwarding: relay.forwarding.offer is set, and forwarding of IPv4 is off: `sysctl -w net.ipv4.ip_forward=1`"}},
		{"a static peer behind a machine that does not forward", Members{Answered: true, Others: 1, Relay: Relay{Peer: "phone"}}, []string{
			"RelayNotForwarding: advertise is set for the static peer phone, and forwarding of IPv6 is off: `sysctl -w net.ipv6.conf.all.forwarding=1`"}},
		{"static peers with IPv4", Members{Answered: true, Others: 1, Relay: Relay{Peer: "phone", PeerIPv4: true, IPv6: true}}, []string{
			"RelayNotForwarding: advertise is set for the static peer phone, and forwarding of IPv4 is off: `sysctl -w net.ipv4.ip_forward=1`"}},
		{"a static peer behind a machine that forwards", Members{Answered: true, Others: 1, Relay: Relay{Peer: "phone", IPv6: true}}, nil},
		{"one version", Members{Answered: true, Others: 1, Version: "v2"}, nil},
		{"other versions", Members{Answered: true, Others: 5, Version: "v2", Versions: []Version{{"v1", 2, "db1"}, {"v3", 1, "web"}}}, []string{
			"VersionsDiffer: of 5 others, 3 do not run v2, as this machine does: v1 on db1 and 1 more; v3 on web: upgrade all"}},
	} {
		test.members.Cluster = "7f3a-91c0"
		found := judgeMembers(start, &Snapshot{Members: test.members})
		if !slices.EqualFunc(found, test.want, func(c condition.Condition, want string) bool { return strings.HasPrefix(c.String(), want) }) {
			t.Errorf("%s:\n got %q\nwant %q", test.name, found, test.want)
		}
	}
}
