package schema

// Relay says whether traffic between peers may pass through a third machine.
type Relay struct {
	// Use is false where no relay carries this machine's traffic; nil is not written. See UsesBlind and
	// UsesForwarding.
	Use *bool `json:"use,omitempty"`
	// Offer makes this machine a relay that cannot read what it carries. See OffersForwarding.
	Offer bool `json:"offer"`
	// Port is the UDP port of that relay. See KubeSpan.RelayPort.
	Port int `json:"port"`
	// Forwarding is for relays that decrypt.
	Forwarding Forwarding `json:"forwarding"`
}

// Forwarding says whether traffic between peers may pass through a third machine that decrypts it.
type Forwarding struct {
	// Offer lets this machine forward the traffic of others.
	Offer bool `json:"offer"`
	// Use lets others forward the traffic of this machine.
	Use bool `json:"use"`
}

// UsesBlind reports whether relays that cannot read it may carry this machine's traffic.
func (r *Relay) UsesBlind() bool { return r.Use == nil || *r.Use }

// UsesForwarding reports whether relays that decrypt may carry this machine's traffic. Earlier versions
// had use alone for it.
func (r *Relay) UsesForwarding() bool { return r.Forwarding.Use || r.Use != nil && *r.Use }

// OffersForwarding reports whether this machine forwards the traffic of others. Earlier versions had
// offer alone for it, and machines that run one still need it.
func (r *Relay) OffersForwarding() bool { return r.Forwarding.Offer || r.Offer }

// RelayPort returns the UDP port of the relay that this machine offers. It is not WireGuard's, which a
// config of an earlier version may have set to the default of Relay.Port.
func (k *KubeSpan) RelayPort() int {
	if k.Relay.Port == k.ListenPort {
		return k.Relay.Port + 1
	}
	return k.Relay.Port
}
