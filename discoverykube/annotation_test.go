package discoverykube

import (
	"maps"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/spanmesh/span/reconciler/mesh"
)

// talos returns a Node with the annotations that KubeSpan on Talos Linux writes.
func talos() node {
	return node{
		name: "worker-1",
		annotations: map[string]string{
			annotationNodeID:    "7x1SuC8Ege5BGXdAfTEff5iQnlWZLfv9h1LGMxA2pYkC",
			annotationAddresses: "192.0.2.10,2001:db8::10",
			annotationAddress:   "fd83:b1f7:fcb5:2802:8c13:71ff:feaf:7c94",
			annotationKey:       "+Q1yKzgmGnrtLqXbTyVYUAbOMbpQ1Y4Y1VWYUlmKrFM=",
			annotationPrefixes:  "10.244.3.0/24,2001:db8:0:3::/64",
			annotationEndpoints: "192.0.2.10:51820,[2001:db8::10]:51820",
			annotationExcluded:  "10.244.3.128/25",
		},
		labels:   map[string]string{"node-role.kubernetes.io/control-plane": ""},
		hostname: "worker-1.example.com",
		osImage:  "Talos (v1.11.0)",
	}
}

func TestDecodeTalos(t *testing.T) {
	n := talos()
	n.annotations[annotationPort] = "6443"
	a, found, err := decode(n)
	if err != nil || !found {
		t.Fatalf("found %v, %v", found, err)
	}
	key, err := mesh.ParseKey("+Q1yKzgmGnrtLqXbTyVYUAbOMbpQ1Y4Y1VWYUlmKrFM=")
	if err != nil {
		t.Fatal(err)
	}
	want := mesh.Affiliate{
		NodeID: "7x1SuC8Ege5BGXdAfTEff5iQnlWZLfv9h1LGMxA2pYkC", Nodename: "worker-1", Hostname: "worker-1.example.com",
		OperatingSystem: "Talos (v1.11.0)", MachineType: "controlplane", ControlPlane: mesh.ControlPlane{APIServerPort: 6443},
		Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.10"), netip.MustParseAddr("2001:db8::10")},
		KubeSpan: mesh.KubeSpan{
			PublicKey: key, Address: netip.MustParseAddr("fd83:b1f7:fcb5:2802:8c13:71ff:feaf:7c94"),
			AdditionalAddresses:       []netip.Prefix{netip.MustParsePrefix("10.244.3.0/24"), netip.MustParsePrefix("2001:db8:0:3::/64")},
			ExcludeAdvertisedNetworks: []netip.Prefix{netip.MustParsePrefix("10.244.3.128/25")},
			Endpoints:                 []netip.AddrPort{netip.MustParseAddrPort("192.0.2.10:51820"), netip.MustParseAddrPort("[2001:db8::10]:51820")},
		},
	}
	if !reflect.DeepEqual(a, want) {
		t.Errorf("got  %+v\nwant %+v", a, want)
	}
	if again := encode(a); !maps.Equal(again, n.annotations) {
		t.Errorf("encoded again: %v", again)
	}
	relay := netip.MustParseAddrPort("198.51.100.1:51821")
	a.KubeSpan.Endpoints, a.KubeSpan.RelayEndpoints = append(a.KubeSpan.Endpoints, relay), []netip.AddrPort{relay}
	if again := encode(a); !maps.Equal(again, n.annotations) {
		t.Errorf("with the endpoint of a relay: %v", again)
	}
}

func TestNodesThatAreNotInTheMesh(t *testing.T) {
	if _, found, err := decode(node{name: "a", annotations: map[string]string{annotationKey: "x"}}); found || err != nil {
		t.Errorf("without a node ID: found %v, %v", found, err)
	}
	a, found, err := decode(node{name: "a", annotations: map[string]string{annotationNodeID: "1", annotationEndpoints: "192.0.2.1:1"}})
	if !found || err != nil || !reflect.DeepEqual(a.KubeSpan, mesh.KubeSpan{}) || a.Hostname != "a" {
		t.Errorf("without a key: %+v, %v, %v", a, found, err)
	}
	if got := encode(a); len(got) != 1 {
		t.Errorf("empty fields are written: %v", got)
	}
}

// TestInvalidAnnotations has each annotation invalid.
func TestInvalidAnnotations(t *testing.T) {
	for name, value := range map[string]string{
		annotationNodeID:    strings.Repeat("a", maxNodeID+1),
		annotationAddresses: "192.0.2.300",
		annotationAddress:   "fd83::/64",
		annotationKey:       "AAAA",
		annotationPrefixes:  "10.0.0.0/24,10.0.0.0/33",
		annotationEndpoints: strings.Repeat("192.0.2.1:1,", maxEndpoint) + "192.0.2.1:1",
		annotationExcluded:  "all",
		annotationPort:      "70000",
	} {
		n := talos()
		n.annotations[name] = value
		a, found, err := decode(n)
		if !found || err == nil || !strings.Contains(err.Error(), name) || len(err.Error()) > 300 || a.NodeID == "" {
			t.Errorf("%s: %v, %v", name, found, err)
		}
	}
}

// FuzzDecode looks for panics, and for affiliates that do not survive encode and decode.
func FuzzDecode(f *testing.F) {
	n := talos()
	f.Add(n.annotations[annotationNodeID], n.annotations[annotationAddresses], n.annotations[annotationAddress], n.annotations[annotationKey],
		n.annotations[annotationPrefixes], n.annotations[annotationEndpoints], n.annotations[annotationExcluded], "6443")
	f.Fuzz(func(t *testing.T, id, addresses, address, key, prefixes, endpoints, excluded, port string) {
		n := node{name: "n", annotations: map[string]string{
			annotationNodeID: id, annotationAddresses: addresses, annotationAddress: address, annotationKey: key,
			annotationPrefixes: prefixes, annotationEndpoints: endpoints, annotationExcluded: excluded, annotationPort: port,
		}}
		a, found, err := decode(n)
		if err != nil || !found {
			return
		}
		again, found, err := decode(node{name: "n", annotations: encode(a)})
		if err != nil || !found || !reflect.DeepEqual(a, again) {
			t.Errorf("%+v became %+v, %v", a, again, err)
		}
	})
}
