package agent

import (
	"slices"
	"strings"
	"testing"

	"github.com/spanmesh/span/netlinkapply"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/state"
)

// found returns a mesh with a link, an owner, and a key that is that number.
func found(link, owner string, key byte) netlinkapply.Mesh {
	return netlinkapply.Mesh{Scope: state.Scope{LinkName: link}, Owner: owner, PublicKey: mesh.Key{key}}
}

func TestMeshesAreFoundByTheirMarks(t *testing.T) {
	named := &state.Scope{LinkName: "kubespan", RoutingTable: 180}
	for _, c := range []struct {
		name     string
		instance instance
		found    []netlinkapply.Mesh
		own      []string
		others   int
		wantErr  string
	}{
		{name: "nothing", instance: instance{stateDir: "/a"}},
		{name: "the config's, which is gone already", instance: instance{stateDir: "/a", config: named}, own: []string{"kubespan"}},
		{name: "the config's once", instance: instance{stateDir: "/a", config: named, key: mesh.Key{1}},
			found: []netlinkapply.Mesh{found("kubespan", "/a", 1)}, own: []string{"kubespan"}},
		{name: "the config's, and one that was left behind", instance: instance{stateDir: "/a", config: named},
			found: []netlinkapply.Mesh{found("kubespan", "/a", 1), found("old0", "/a", 1)}, own: []string{"kubespan", "old0"}},
		{name: "by the owner, after the key is lost", instance: instance{stateDir: "/a"},
			found: []netlinkapply.Mesh{found("kubespan", "/a", 1), found("other0", "/b", 2)}, own: []string{"kubespan"}, others: 1},
		{name: "by the key, after the state directory was moved", instance: instance{stateDir: "/moved", key: mesh.Key{1}},
			found: []netlinkapply.Mesh{found("kubespan", "/a", 1), found("other0", "/b", 2)}, own: []string{"kubespan"}, others: 1},
		{name: "several", instance: instance{stateDir: "/a"},
			found: []netlinkapply.Mesh{found("one0", "/a", 1), found("two0", "/a", 1), found("other0", "", 2)}, own: []string{"one0", "two0"}, others: 1},
		{name: "another's stays, of an instance that has never been up", instance: instance{stateDir: "/a"},
			found: []netlinkapply.Mesh{found("other0", "/b", 2)}, others: 1},
		{name: "a mesh without an owner is not that of an instance with another key", instance: instance{stateDir: "/a", key: mesh.Key{1}},
			found: []netlinkapply.Mesh{found("other0", "", 2)}, others: 1},
		{name: "the only mesh, without an owner", instance: instance{stateDir: "/a"},
			found: []netlinkapply.Mesh{found("kubespan", "", 0)}, own: []string{"kubespan"}},
		{name: "several without an owner", instance: instance{stateDir: "/a"},
			found: []netlinkapply.Mesh{found("one0", "", 1), found("two0", "", 2)}, wantErr: "--link: one0, two0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			own, others, err := c.instance.scopes(c.found)
			var links []string
			for _, s := range own {
				links = append(links, s.LinkName)
			}
			if !slices.Equal(links, c.own) || len(others) != c.others || (err == nil) != (c.wantErr == "") {
				t.Errorf("own %v, %d others, %v; want %v, %d, %q", links, len(others), err, c.own, c.others, c.wantErr)
			}
			if err != nil && !strings.Contains(err.Error(), c.wantErr) {
				t.Error(err)
			}
		})
	}
}

// TestFormerRoutingIsTakenDown has a mesh whose config has changed its table and its priority.
func TestFormerRoutingIsTakenDown(t *testing.T) {
	scope := func(table, priority int) state.Scope {
		return state.Scope{LinkName: "kubespan", RoutingTable: table, RulePriority: priority}
	}
	config := scope(180, 32400)
	for _, c := range []struct {
		name   string
		owner  string
		scope  state.Scope
		former []state.Scope
		own    []state.Scope
	}{
		{"all is as the config has it", "/a", config, nil, []state.Scope{config}},
		{"the rules are missing", "/a", scope(180, 0), nil, []state.Scope{config}},
		{"the rules are at another priority", "/a", scope(180, 32500), nil, []state.Scope{config, scope(180, 32500)}},
		{"rules are at another priority as well", "/a", config, []state.Scope{scope(180, 32500)}, []state.Scope{config, scope(180, 32500)}},
		{"routes are in another table as well", "/a", config, []state.Scope{scope(190, 0)}, []state.Scope{config, scope(190, 0)}},
		{"the link is gone, the tables of nftables are not", "", scope(180, 32500), nil, []state.Scope{config, scope(180, 32500)}},
		{"the mesh is another's", "/b", scope(180, 32500), nil, []state.Scope{config}},
	} {
		m := netlinkapply.Mesh{Scope: c.scope, Former: c.former, Owner: c.owner}
		own, _, err := instance{stateDir: "/a", config: &config}.scopes([]netlinkapply.Mesh{m})
		if err != nil || !slices.Equal(own, c.own) {
			t.Errorf("%s: %+v, %v", c.name, own, err)
		}
	}
}

func TestMeshOfALink(t *testing.T) {
	i := instance{stateDir: "/a", config: &state.Scope{LinkName: "kubespan", RoutingTable: 180}}
	all := []netlinkapply.Mesh{found("kubespan", "/a", 1), found("other0", "/b", 2)}
	if own, err := i.of(all, "kubespan"); err != nil || len(own) != 1 || own[0].RoutingTable != 180 {
		t.Errorf("the config's is %+v, %v", own, err)
	}
	if own, err := i.of(all, "other0"); err != nil || len(own) != 1 || own[0].LinkName != "other0" {
		t.Errorf("another's is %+v, %v", own, err)
	}
	if own, err := i.of(all, "eth0"); err == nil || !strings.Contains(err.Error(), "there are kubespan, other0") {
		t.Errorf("that of no mesh is %+v, %v", own, err)
	}
}
