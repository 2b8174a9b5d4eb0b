package condition

import (
	"cmp"
	"fmt"
	"net/netip"
	"strings"
)

// Cloned returns the condition that another machine uses this machine's identity. Hostname
// and addresses are what that machine publishes.
func Cloned(hostname string, addresses []netip.Addr) Condition {
	texts := make([]string, len(addresses))
	for i, a := range addresses {
		texts[i] = a.String()
	}
	where := strings.Join(texts, ", ")
	return Condition{
		Code:    IdentityCloned,
		Subject: cmp.Or(hostname, where),
		Cause:   fmt.Sprintf("another machine, %s (%s), publishes itself with this machine's node ID", cmp.Or(hostname, "whose name is not known"), cmp.Or(where, "no addresses")),
		Remedy:  "on the copy, stop the agent without `spanctl down`, run `spanctl reset-identity --yes`, and start the agent",
	}
}
