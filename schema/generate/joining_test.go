package generate_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/spanmesh/span/schema"
	"github.com/spanmesh/span/schema/generate"
	"github.com/spanmesh/span/schema/internal/field"
	"github.com/spanmesh/span/schema/load"
)

// everything is a config of one machine with every setting that a cluster has, and many of its own.
const everything = `
machine: {
	network: kubespan: {
		enabled:                     true
		advertiseKubernetesNetworks: true
		allowDownPeerBypass:         true
		mtu:                         1380
		listenPort:                  51900
		interfaceName:               "mesh0"
		persistentKeepalive:         10
		extraAnnouncedEndpoints: ["192.0.2.10:51820"]
		advertisedNetworks: ["10.20.0.0/16"]
		addresses: ["10.99.0.1/24"]
		bypass: ["10.30.0.0/16"]
		filters: {
			endpoints: ["10.0.0.0/8"]
			peerNetworks: ["10.0.0.0/8"]
			interfaces: ["eth0"]
		}
		relay: {use: false, offer: true, port: 51999}
		nat: {portMapping: false, upnp: true}
	}
	metrics: listen: "127.0.0.1:9851"
	api: listen: "mesh:9852"
}
cluster: {
	id: "EUsCYz+oHNuBppS51P9aKSIOyYvIPmbZK944PWgiyMQ="
	secret: file: "/etc/spanctl/cluster-secret"
	discovery: {
		registries: {
			service: endpoint: "https://disc.example.com/"
			kubernetes: {disabled: false, kubeconfig: "/etc/spanctl/kubeconfig"}
			static: peers: [{name: "phone", publicKey: "NzW8oeIH5rJyY5lefD9WRoHWWRr/Q6DwsDjMX+xKjT4="}]
		}
		enabled: true
	}
}
`

func TestJoining(t *testing.T) {
	in := load.Input{Sources: []schema.Source{{Name: "machine.cue", Data: []byte(everything)}},
		ReadSecret: func(schema.SecretSource) (string, error) { return "AbdsWjY9i797kGglghKvtGdxCsdllX9CemLq+WGVeaw=", nil }}
	config, err := in.Load()
	if err != nil {
		t.Fatal(err)
	}
	got, err := generate.Joining(config)
	if err != nil {
		t.Fatal(err)
	}
	want := `machine: network: kubespan: {
	enabled:             true
	allowDownPeerBypass: true
	mtu:                 1380
	filters: peerNetworks: ["10.0.0.0/8"]
	relay: use:       false
	nat: portMapping: false
	listenPort:          51900
	interfaceName:       "mesh0"
	persistentKeepalive: 10
}
cluster: {
	id:     "EUsCYz+oHNuBppS51P9aKSIOyYvIPmbZK944PWgiyMQ="
	secret: "AbdsWjY9i797kGglghKvtGdxCsdllX9CemLq+WGVeaw="
	discovery: {
		registries: service: endpoint: "https://disc.example.com/"
		enabled: true
	}
}
`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
	if _, err := load.Config("machine.cue", got); err != nil {
		t.Errorf("the config of a machine that joins is not valid: %v", err)
	}
}

// own are the settings that are about one machine.
var own = []string{
	"machine.metrics.", "machine.api.",
	"machine.network.kubespan.advertiseKubernetesNetworks",
	"machine.network.kubespan.extraAnnouncedEndpoints",
	"machine.network.kubespan.advertisedNetworks",
	"machine.network.kubespan.addresses",
	"machine.network.kubespan.bypass",
	"machine.network.kubespan.routeConnectedNetworks",
	"machine.network.kubespan.filters.",
	"machine.network.kubespan.relay.",
	"machine.network.kubespan.nat.upnp",
	"cluster.discovery.registries.service.disabled",
	"cluster.discovery.registries.kubernetes.",
	"cluster.discovery.registries.static.",
	"cluster.secret.",
}

// TestEverySettingIsSharedOrOwn has a new setting be decided on.
func TestEverySettingIsSharedOrOwn(t *testing.T) {
	for path, f := range field.All() {
		if strings.Contains(path, field.Element) || len(f.Children) > 0 && path != "cluster.secret" || slices.Contains(generate.Shared, path) {
			continue
		}
		if !slices.ContainsFunc(own, func(prefix string) bool { return strings.HasPrefix(path, prefix) }) {
			t.Errorf("%s is neither handed on to a machine that joins, nor a machine's own", path)
		}
	}
	for _, path := range generate.Shared {
		if _, known := field.All()[path]; !known {
			t.Errorf("%s is no setting", path)
		}
	}
}
