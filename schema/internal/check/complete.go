package check

// KubeSpan is the setting that every config must have.
const KubeSpan = "machine.network.kubespan.enabled"

// The settings that depend on each other.
const (
	discovery  = "cluster.discovery.enabled"
	service    = "cluster.discovery.registries.service.disabled"
	kubernetes = "cluster.discovery.registries.kubernetes.disabled"
	peers      = "cluster.discovery.registries.static.peers"
	id         = "cluster.id"
	secret     = "cluster.secret"
	offer      = "machine.network.kubespan.relay.offer"
	relayPort  = "machine.network.kubespan.relay.port"
	listenPort = "machine.network.kubespan.listenPort"
)

// wantKey is the remedy for a missing ID or secret.
const wantKey = "base64 of 32 random bytes, the same on every machine: make one with `spanctl gen secrets`"

// Fault is a fault of settings in their relation to each other.
type Fault struct {
	// Path is the setting with the fault.
	Path string
	// AskedBy is the setting that makes it a fault. It has the position if Path was left out.
	AskedBy string
	// Value is the value of the setting in quotes. It may be empty.
	Value string
	// Reason says what is wrong.
	Reason string
	// Want says what would be right.
	Want string
}

// Settings are the settings of a config that may have faults elsewhere.
type Settings interface {
	// Is reports whether the setting at path is valid and has that value.
	Is(path string, value bool) bool
	// Missing reports whether the user left the setting at path out, empty or open.
	Missing(path string) bool
	// Len returns the length of the list at path. It is 0 for a list with a fault.
	Len(path string) int
	// Same reports whether the settings at two paths are valid numbers and equal.
	Same(path, other string) bool
}

// Complete returns the faults of settings that need each other.
func Complete(s Settings) (faults []Fault) {
	wanted := s.Is(discovery, true)
	unregistered := s.Is(service, true) && s.Is(kubernetes, true) && s.Len(peers) == 0
	for _, c := range []struct {
		wrong bool
		fault Fault
	}{
		{s.Missing(KubeSpan), Fault{Path: KubeSpan,
			Reason: "is missing, and without it no config is put in force", Want: "true, or false to take the mesh down"}},
		{s.Is(KubeSpan, true) && s.Is(discovery, false), Fault{Path: discovery, AskedBy: KubeSpan,
			Reason: "is false, but KubeSpan is enabled and finds its peers through discovery", Want: "true"}},
		{wanted && unregistered, Fault{Path: service, AskedBy: discovery,
			Reason: "is true, but discovery is enabled and needs at least one registry", Want: "false"}},
		{wanted && s.Missing(id), Fault{Path: id, AskedBy: discovery,
			Reason: "is missing, but discovery is enabled and needs it", Want: wantKey}},
		{wanted && s.Missing(secret), Fault{Path: secret, AskedBy: discovery,
			Reason: "is missing, but discovery is enabled and needs it", Want: wantKey}},
		{s.Is(offer, true) && !s.Missing(relayPort) && s.Same(relayPort, listenPort), Fault{Path: relayPort, AskedBy: offer,
			Reason: "is listenPort, but relay.offer is true and the relay needs a port of its own", Want: "another port than listenPort"}},
	} {
		if c.wrong {
			faults = append(faults, c.fault)
		}
	}
	return faults
}
