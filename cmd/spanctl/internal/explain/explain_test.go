package explain

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func all(t *testing.T) *Index {
	t.Helper()
	i, err := All()
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func TestWordsMeanOneThing(t *testing.T) {
	for _, c := range []struct {
		word string
		kind Kind
		name string
		also string
	}{
		{"", KindSetting, "", ""},
		{"machine.network.kubespan.mtu", KindSetting, "machine.network.kubespan.mtu", ""},
		{"mtu", KindSetting, "machine.network.kubespan.mtu", ""},
		{"KubeSpan.MTU", KindSetting, "machine.network.kubespan.mtu", ""},
		{"machine", KindSetting, "machine", ""},
		{"cluster.discovery.registries.static.peers.publicKey", KindSetting, "cluster.discovery.registries.static.peers[].publicKey", ""},
		{"cluster.discovery.registries.static.peers[].publicKey", KindSetting, "cluster.discovery.registries.static.peers[].publicKey", ""},
		{"cluster.discovery.registries.static.peers[3].publicKey", KindSetting, "cluster.discovery.registries.static.peers[].publicKey", ""},
		{"cluster.discovery.registries.static.peers.3.publicKey", KindSetting, "cluster.discovery.registries.static.peers[].publicKey", ""},
		{"cluster.discovery.registries.static.peers[*].allowedIPs[0]", KindSetting, "cluster.discovery.registries.static.peers[].allowedIPs", ""},
		{"peers[].presharedKey.file", KindSetting, "cluster.discovery.registries.static.peers[].presharedKey.file", ""},
		{"cluster.secret.env", KindSetting, "cluster.secret.env", ""},
		{"peers", KindResource, "kubespanpeerstatuses", "cluster.discovery.registries.static.peers"},
		{"peers.state", KindField, "kubespanpeerstatuses.state", ""},
		{"kubespanpeerstatus.rtt", KindField, "kubespanpeerstatuses.rtt", ""},
		{"smoothedRTT", KindField, "kubespanpeerstatuses.smoothedRTT", ""},
		{"affiliates.kubespan.publicKey", KindField, "affiliates.kubespan.publicKey", ""},
		{"kubespanpeerspecs.claims.owner", KindField, "kubespanpeerspecs.claims[].owner", ""},
		{"ksps", KindResource, "kubespanpeerstatuses", ""},
		{"mc", KindResource, "machineconfigs", ""},
		{"RoutesShadowed", KindCondition, "RoutesShadowed", ""},
		{"routesshadowed", KindCondition, "RoutesShadowed", ""},
		{"KubeSpanEndpointsConfig", KindTalos, "KubeSpanEndpointsConfig", ""},
		{"KubeSpanConfig.filters.endpoints", KindTalos, "KubeSpanConfig.filters.endpoints", ""},
		{"DiscoveryIdentityConfig.clusterSecret", KindTalos, "DiscoveryIdentityConfig.clusterSecret", ""},
	} {
		topic, also, err := all(t).Find(c.word)
		if err != nil {
			t.Errorf("%s: %v", c.word, err)
			continue
		}
		if topic.Kind != c.kind || topic.Name != c.name || strings.Join(also, " ") != c.also {
			t.Errorf("%s is the %s %s, also %v; want the %s %s, also %q", c.word, topic.Kind, topic.Name, also, c.kind, c.name, c.also)
		}
	}
}

func TestAmbiguousWordsAreListed(t *testing.T) {
	for word, want := range map[string][]string{
		"enabled": {"machine.network.kubespan.enabled", "cluster.discovery.enabled"},
	} {
		_, _, err := all(t).Find(word)
		var ambiguous *AmbiguousError
		if !errors.As(err, &ambiguous) || !slices.Equal(ambiguous.Names, want) || !strings.Contains(err.Error(), want[1]) {
			t.Errorf("%s: %v, want %v", word, err, want)
		}
	}
}

func TestUnknownWordsAreNearOthers(t *testing.T) {
	for word, want := range map[string]string{
		"machine.network.kubespan.mtuu": "machine.network.kubespan.mtu",
		"kubspan":                       "machine.network.kubespan",
		"machine.network.kubespam.mtu":  "machine.network.kubespan.mtu",
		"cluster.discovery.registries.static.peers[0].pubKey": "cluster.discovery.registries.static.peers[].publicKey",
		"listnPort":    "machine.network.kubespan.listenPort",
		"RoutesShadow": "RoutesShadowed",
		"peers.sate":   "kubespanpeerstatuses.state",
		"mumblemumble": "",
		strings.Repeat("machine.network.kubespan.mtu", 1<<16): "",
		"[]": "",
	} {
		_, _, err := all(t).Find(word)
		var unknown *UnknownError
		if !errors.As(err, &unknown) {
			t.Errorf("%s: %v", word, err)
			continue
		}
		first := ""
		if len(unknown.Near) > 0 {
			first = unknown.Near[0]
		}
		if first != want || !strings.Contains(err.Error(), word) || len(unknown.Near) > maxNear {
			t.Errorf("%s: %v, want %q first", word, err, want)
		}
	}
}

// TestPartOfANameSuggestsIt looks for a word that is near no name.
func TestPartOfANameSuggestsIt(t *testing.T) {
	var unknown *UnknownError
	if _, _, err := all(t).Find("routeConnected"); !errors.As(err, &unknown) || !slices.Contains(unknown.Near, "machine.network.kubespan.routeConnectedNetworks") {
		t.Errorf("the error is %v", err)
	}
}

// TestEveryNameFindsItsTopic wants each name to find its own topic, also as it is completed.
func TestEveryNameFindsItsTopic(t *testing.T) {
	i, topics := all(t), 0
	i.each(func(t2 *Topic, _ []string) {
		topics++
		for _, name := range []string{t2.Name, strings.ReplaceAll(t2.Name, "[]", "")} {
			if found, _, err := i.Find(name); err != nil || found != t2 {
				t.Errorf("%s finds %+v, %v", name, found, err)
			}
		}
		if t2.Description == "" || t2.Summary() == "" {
			t.Errorf("%s has no description", t2.Name)
		}
	})
	if topics < 150 {
		t.Errorf("there are %d topics", topics)
	}
}

func TestPathsAreCompletedPartByPart(t *testing.T) {
	words := func(prefix string) (words []string) {
		for _, c := range all(t).Complete(prefix) {
			if c.HasBelow != strings.HasSuffix(c.Word, ".") || c.HasBelow == (c.Summary != "") {
				t.Errorf("%q completes to %+v", prefix, c)
			}
			words = append(words, c.Word)
		}
		return words
	}
	for prefix, want := range map[string][]string{
		"mach":                            {"machine", "machine.", "machineconfigs"},
		"machine.network.kubespan.rel":    {"machine.network.kubespan.relay", "machine.network.kubespan.relay."},
		"machine.network.kubespan.relay.": {"machine.network.kubespan.relay.use", "machine.network.kubespan.relay.offer", "machine.network.kubespan.relay.port", "machine.network.kubespan.relay.forwarding", "machine.network.kubespan.relay.forwarding."},
		"cluster.discovery.registries.st": {"cluster.discovery.registries.static", "cluster.discovery.registries.static."},
		"cluster.discovery.registries.static.peers.p": {"cluster.discovery.registries.static.peers.publicKey",
			"cluster.discovery.registries.static.peers.presharedKey", "cluster.discovery.registries.static.peers.presharedKey."},
		"routes":  {"RoutesShadowed"},
		"nothing": nil,
	} {
		if got := words(prefix); !slices.Equal(got, want) {
			t.Errorf("%q completes to %q, want %q", prefix, got, want)
		}
	}
}
