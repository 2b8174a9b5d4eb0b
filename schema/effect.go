package schema

import "fmt"

// MaxSTUNServers is how many servers of STUN are asked, of each IP version.
const MaxSTUNServers = 4

// settingWarnings returns what settings do that their names do not say, and which have no effect beside
// others.
func (k *KubeSpan) settingWarnings() (warnings []string) {
	const prefix = "machine.network.kubespan."
	for _, c := range []struct {
		is   bool
		text string
	}{
		{k.Relay.Use != nil && *k.Relay.Use && !k.Relay.Forwarding.Use,
			"relay.use is true, which also turns on relay.forwarding.use, as in earlier versions: members that forward can read the traffic; leave relay.use out for relays that cannot, or set relay.forwarding.use to true as well"},
		{!k.NAT.STUN && len(k.NAT.Servers) > 0,
			"nat.servers has no effect, since nat.stun is false: set nat.stun to true, or leave the servers out"},
		{k.NAT.STUN && len(k.NAT.Servers) > MaxSTUNServers,
			fmt.Sprintf("nat.servers has %d servers; only the first %d of each IP version are asked", len(k.NAT.Servers), MaxSTUNServers)},
		{!k.NAT.PortMapping && k.NAT.UPnP,
			"nat.upnp has no effect, since nat.portMapping is false: set nat.portMapping to true, or leave nat.upnp out"},
	} {
		if c.is {
			warnings = append(warnings, prefix+c.text)
		}
	}
	return warnings
}
