package reconciler

import (
	"log/slog"

	"github.com/spanmesh/span/schema"
)

// offerForwards is the warning of a relay that also forwards.
const offerForwards = "machine.network.kubespan.relay.offer is true, and IPv6 forwarding is on: machines of earlier versions see an offer to forward, as by relay.forwarding.offer, and what is forwarded is unencrypted inside of this machine; " +
	"set relay.forwarding.offer to true as well if that is meant, or turn off IPv6 forwarding"

// configWarnings returns what a config in force probably does not mean. Forwards is set where the kernel
// forwards IPv6, without which nothing is forwarded.
func configWarnings(config *schema.Config, forwards bool) []string {
	warnings := config.Warnings()
	if k := config.KubeSpan(); k.Enabled && k.Relay.Offer && !k.Relay.Forwarding.Offer && forwards {
		warnings = append(warnings, offerForwards)
	}
	return warnings
}

// warnOfConfig logs the warnings of a config that was put in force.
func warnOfConfig(log *slog.Logger, config *schema.Config, pass *Pass) {
	forwards := pass != nil && pass.host.Forwards
	for _, warning := range configWarnings(config, forwards) {
		log.Warn("config warning", "warning", warning)
	}
}
