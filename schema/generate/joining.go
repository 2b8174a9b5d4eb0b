package generate

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"github.com/spanmesh/span/schema"
	"github.com/spanmesh/span/schema/internal/encode"
	"github.com/spanmesh/span/schema/load"
)

// shared are the settings that a machine hands on to one that joins its cluster: what the machines of
// a cluster agree on. All others are about one machine, its addresses, networks, site and files.
var shared = []string{
	kubespan + "enabled",
	kubespan + "allowDownPeerBypass",
	kubespan + "harvestExtraEndpoints",
	kubespan + "mtu",
	kubespan + "filters.peerNetworks",
	kubespan + "relay.use",
	kubespan + "relay.forwarding.use",
	kubespan + "nat.stun",
	kubespan + "nat.servers",
	kubespan + "nat.punch",
	kubespan + "nat.portMapping",
	kubespan + "listenPort",
	kubespan + "interfaceName",
	kubespan + "routingTable",
	kubespan + "rulePriority",
	kubespan + "fwmark",
	kubespan + "persistentKeepalive",
	"cluster.id",
	"cluster.secret",
	service + "endpoint",
	service + "endpoints",
	service + "protocol",
	service + "ca",
	"cluster.discovery.enabled",
}

const (
	kubespan = "machine.network.kubespan."
	service  = "cluster.discovery.registries.service."
)

// Joining returns the config, in CUE, of a machine that joins the cluster of one with a config whose
// secret was read from its source. It has what the machines of a cluster agree on, and nothing that
// is about this machine. Settings that have their defaults are left out.
func Joining(c *schema.Config) ([]byte, error) {
	settings, err := settingsOf(c)
	if err != nil {
		return nil, err
	}
	fallback, err := load.Config("machine.cue", []byte(fmt.Sprintf("machine: network: kubespan: enabled: false\ncluster: {id: %q, secret: %q}\n",
		c.Cluster.ID, c.Cluster.Secret.Reveal())))
	if err != nil {
		return nil, fmt.Errorf("write the config of a machine that joins: %w", err)
	}
	defaults, err := settingsOf(fallback)
	if err != nil {
		return nil, err
	}
	joining := map[string]any{}
	for _, path := range shared {
		value := at(settings, path)
		if value == nil || !isAlways(path) && reflect.DeepEqual(value, at(defaults, path)) {
			continue
		}
		put(joining, path, value)
	}
	// The secret may be outside of this machine's config.
	put(joining, "cluster.secret", c.Cluster.Secret.Reveal())
	text, err := encode.File("machine.cue", joining)
	if err != nil {
		return nil, fmt.Errorf("write the config of a machine that joins: %w", err)
	}
	return text, nil
}

// isAlways reports whether a setting is written even if it has its default.
func isAlways(path string) bool {
	return path == kubespan+"enabled" || path == "cluster.id" || path == "cluster.discovery.enabled"
}

// settingsOf returns the settings of a config, with its secrets.
func settingsOf(c *schema.Config) (map[string]any, error) {
	encoded, err := json.Marshal(c.Revealed())
	if err != nil {
		return nil, fmt.Errorf("read the settings of a config: %w", err)
	}
	var settings map[string]any
	if err := json.Unmarshal(encoded, &settings); err != nil {
		return nil, fmt.Errorf("read the settings of a config: %w", err)
	}
	return settings, nil
}

// at returns the value at a path; nil for none.
func at(settings map[string]any, path string) any {
	name, rest, below := strings.Cut(path, ".")
	if !below {
		return settings[name]
	}
	inner, _ := settings[name].(map[string]any)
	return at(inner, rest)
}

// put sets the value at a path.
func put(settings map[string]any, path string, value any) {
	name, rest, below := strings.Cut(path, ".")
	if !below {
		settings[name] = value
		return
	}
	inner, _ := settings[name].(map[string]any)
	if inner == nil {
		inner = map[string]any{}
		settings[name] = inner
	}
	put(inner, rest, value)
}
