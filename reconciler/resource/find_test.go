package resource_test

import (
	"errors"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spanmesh/span/reconciler/condition"
	"github.com/spanmesh/span/reconciler/human"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/resource"
)

func TestNoTwoTypesShareAnAlias(t *testing.T) {
	owner := map[string]string{}
	for _, typ := range resource.Types {
		for _, alias := range typ.Aliases {
			if other := owner[alias]; other != "" {
				t.Errorf("%q is an alias of %s and of %s", alias, other, typ.Name)
			}
			if alias != strings.ToLower(alias) {
				t.Errorf("%q is not in lower case", alias)
			}
			owner[alias] = typ.Name
		}
	}
}

// TestConditionsNameResources looks up what the checks of conditions tell operators to get.
func TestConditionsNameResources(t *testing.T) {
	named := 0
	for _, d := range condition.Definitions() {
		for _, match := range regexp.MustCompile("spanctl get ([a-z]+)").FindAllStringSubmatch(d.Check+d.Remedy, -1) {
			named++
			if _, err := resource.Lookup(match[1]); err != nil {
				t.Errorf("%s: %v", d.Code, err)
			}
		}
	}
	if named < 5 {
		t.Errorf("%d resources are named", named)
	}
}

// list makes resources of specs by ID.
func list(typ *resource.Type, specs map[string]any) []resource.Resource {
	var s resource.Store
	s.Replace(time.Unix(1, 0), typ, specs)
	return s.List(typ)
}

func TestResourcesAreFoundByIDOrName(t *testing.T) {
	peers := list(resource.PeerStatuses, map[string]any{
		"keyA": resource.PeerStatus{Label: "db1"},
		"keyB": resource.PeerStatus{Label: "web1"},
		"keyC": resource.PeerStatus{Label: "Web1"},
		"keyD": resource.PeerStatus{Label: "keyA"},
		"keyE": resource.PeerStatus{},
	})
	for word, want := range map[string]string{"db1": "keyA", "DB1": "keyA", "keyB": "keyB", "keyA": "keyA", "keyE": "keyE"} {
		if r, err := resource.Find(resource.PeerStatuses, peers, word); err != nil || r.ID != want {
			t.Errorf("%s is %q, %v; want %s", word, r.ID, err, want)
		}
	}
	var ambiguous *resource.AmbiguousError
	if _, err := resource.Find(resource.PeerStatuses, peers, "web1"); !errors.As(err, &ambiguous) || !slices.Equal(ambiguous.IDs, []string{"keyB", "keyC"}) {
		t.Errorf("web1: %v", err)
	}
	for word, near := range map[string]string{"bd1": "db1", "db2": "db1", "db11": "db1", "keyF": "keyA", "": "", "x": "", "something": ""} {
		var missing *resource.NotFoundError
		if _, err := resource.Find(resource.PeerStatuses, peers, word); !errors.As(err, &missing) || missing.Near != near {
			t.Errorf("%q: %v, want near %q", word, err, near)
		}
	}
	names := resource.Names(resource.PeerStatuses, peers)
	if len(names) != 1 || names["keyA"] != "db1" {
		t.Errorf("the names are %v", names)
	}

	affiliates := list(resource.Affiliates, map[string]any{
		"id1": resource.Affiliate{Affiliate: &mesh.Affiliate{NodeID: "id1", Nodename: "k8s-1", Hostname: "web"}},
		"id2": resource.Affiliate{Affiliate: &mesh.Affiliate{NodeID: "id2", Nodename: "k8s-2", Hostname: "web"}},
	})
	if r, err := resource.Find(resource.Affiliates, affiliates, "k8s-2"); err != nil || r.ID != "id2" {
		t.Errorf("k8s-2 is %q, %v", r.ID, err)
	}
	if names := resource.Names(resource.Affiliates, affiliates); names["id1"] != "k8s-1" {
		t.Errorf("the names are %v", names)
	}
}

// TestEveryNameFindsItsResource wants a name that Names gives to be one that Find takes.
func TestEveryNameFindsItsResource(t *testing.T) {
	for _, typ := range []*resource.Type{resource.PeerSpecs, resource.Endpoints, resource.Members, resource.Conditions} {
		specs := map[*resource.Type]func(a, b string) any{
			resource.PeerSpecs:  func(a, _ string) any { return resource.PeerSpec{Label: a} },
			resource.Endpoints:  func(a, b string) any { return resource.Endpoint{Label: a, AffiliateID: b} },
			resource.Members:    func(a, _ string) any { return resource.Member{Hostname: a} },
			resource.Conditions: func(a, b string) any { return resource.Condition{Code: a, Subject: b} },
		}[typ]
		all := list(typ, map[string]any{"1": specs("a", "x"), "2": specs("a", "y"), "3": specs("2", "z"), "4": specs("b", "a")})
		for id, name := range resource.Names(typ, all) {
			if r, err := resource.Find(typ, all, name); err != nil || r.ID != id {
				t.Errorf("%s %s is called %q, which finds %q, %v", typ.Name, id, name, r.ID, err)
			}
		}
	}
}

func TestAgesAreInTwoUnits(t *testing.T) {
	now := time.Unix(1_000_000_000, 0)
	for age, want := range map[time.Duration]string{
		0: "0s", -time.Second: "0s", 41 * time.Second: "41s", 59*time.Second + 999*time.Millisecond: "59s",
		62 * time.Second: "1m 2s", 4 * time.Minute: "4m", 123 * time.Minute: "2h 3m", 24 * time.Hour: "1d",
		76*time.Hour + 59*time.Minute: "3d 4h",
	} {
		if got := human.Age(now, now.Add(-age)); got != want {
			t.Errorf("%v is %q, want %q", age, got, want)
		}
	}
	if got := human.Age(now, time.Time{}); got != "" {
		t.Errorf("no time is %q", got)
	}
}

func TestTablesHaveAgesAndSizes(t *testing.T) {
	now := time.Unix(1_000_000_000, 0)
	status := resource.PeerStatus{Label: "db1", ReceiveBytes: 1288490189, TransmitBytes: 180, LastHandshakeTime: now.Add(-41 * time.Second)}
	row := resource.PeerStatuses.Row(now, resource.Resource{ID: "key", Version: 1, Spec: status})
	for heading, want := range map[string]string{"RX": "1.2GiB", "TX": "180B", "HANDSHAKE": "41s", "RTT": "", "ENDPOINT CHANGED": ""} {
		at := slices.Index(resource.PeerStatuses.Headings(), heading)
		if at < 0 || row[at] != want {
			t.Errorf("%s: %q, want %q", heading, row, want)
		}
	}
	for _, typ := range resource.Types {
		headings := typ.Headings()
		for _, at := range typ.Wide() {
			if at < 2 || at >= len(headings) {
				t.Errorf("%s: column %d of %d is for wide tables", typ.Name, at, len(headings))
			}
		}
	}
}

func TestFindPeers(t *testing.T) {
	address := netip.MustParseAddr
	peers := []resource.PeerWords{
		{Key: "keyA", NodeID: "node1", Label: "db1", Addresses: []netip.Addr{address("fd00::1"), address("10.0.0.1")}},
		{Key: "keyB", Label: "vm", Addresses: []netip.Addr{{}}},
		{Key: "keyC", Label: "VM"},
		{Key: "keyD", Label: "keyA"},
		{Key: "keyE"},
	}
	for word, want := range map[string]string{
		"db1": "keyA", "DB1": "keyA", "node1": "keyA", "NODE1": "", "fd00:0::1": "keyA", "10.0.0.1": "keyA", "10.0.0.2": "",
		"keyA": "keyA", "keyE": "keyE", "vm": "keyB keyC", "db2": "", "": "",
	} {
		var keys []string
		for _, p := range resource.FindPeers(word, peers, func(p resource.PeerWords) resource.PeerWords { return p }) {
			keys = append(keys, p.Key)
		}
		if got := strings.Join(keys, " "); got != want {
			t.Errorf("%q is %q, want %q", word, got, want)
		}
	}
}
