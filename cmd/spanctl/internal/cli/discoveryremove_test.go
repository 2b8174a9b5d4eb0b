package cli

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spanmesh/span/cmd/spanctl/internal/agent"
	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/resource"
)

// fakeDiscovery has affiliates. Those that are alive return after a time.
type fakeDiscovery struct {
	affiliates map[string]agent.Found
	alive      map[string]time.Duration
	away       map[string]time.Time
	fails      error
}

func (d *fakeDiscovery) Affiliates(context.Context) (map[string]agent.Found, error) {
	now := maps.Clone(d.affiliates)
	for id, since := range d.away {
		if after, alive := d.alive[id]; !alive || time.Since(since) < after {
			delete(now, id)
		}
	}
	return now, d.fails
}

func (d *fakeDiscovery) Remove(_ context.Context, id string) error {
	if id == "denied" {
		return errors.New("denied")
	}
	d.away[id] = time.Now()
	return nil
}

const strangeID = "\x1b]0;x\a\nrow"

func newFakeDiscovery() *fakeDiscovery {
	d := &fakeDiscovery{affiliates: map[string]agent.Found{}, alive: map[string]time.Duration{"id-live": 2 * time.Second}, away: map[string]time.Time{}}
	for id, a := range map[string]mesh.Affiliate{
		"id-gone":  {Hostname: "node-5", Nodename: "node-5.example.com"},
		"id-live":  {Hostname: "node-6"},
		"id-a":     {Hostname: "twin"},
		"id-b":     {Nodename: "twin"},
		"node-6":   {Hostname: "named-as-an-id"},
		"id-talos": {Hostname: "talos-1", OperatingSystem: "Talos (v1.11.0)"},
		"id-old":   {Hostname: "older", OperatingSystem: "Linux"},
		"denied":   {},
	} {
		a.NodeID = id
		d.affiliates[id] = agent.Found{Affiliate: resource.Affiliate{Affiliate: &a}, Returns: a.OperatingSystem == ""}
	}
	for _, id := range []string{"stranger", strangeID} {
		d.affiliates[id] = agent.Found{Affiliate: resource.Affiliate{Affiliate: &mesh.Affiliate{NodeID: id}, Refused: "cannot be decrypted"}}
	}
	return d
}

func TestRemoval(t *testing.T) {
	for title, c := range map[string]struct {
		names []string
		force bool
		// want is what is printed, error what fails.
		want, err string
		removed   []string
		takes     time.Duration
	}{
		"an ID that nobody has":                     {names: []string{"nosuch"}, err: `no affiliate has the ID or the name "nosuch"`},
		"an ID that nobody has, by force":           {names: []string{"nosuch"}, force: true, err: `no affiliate has the ID or the name "nosuch"`},
		"no name":                                   {names: []string{""}, err: `no affiliate has the ID or the name ""`},
		"part of a name":                            {names: []string{"node"}, err: `no affiliate has`},
		"one that is there, one that is not":        {names: []string{"id-gone", "nosuch"}, err: `"nosuch"`},
		"a machine that is gone, by its ID":         {names: []string{"id-gone"}, want: "removed node-5 (id-gone)\n", removed: []string{"id-gone"}, takes: returnTime},
		"by its host name":                          {names: []string{"node-5"}, want: "removed node-5 (id-gone)\n", removed: []string{"id-gone"}, takes: returnTime},
		"by its nodename, and twice":                {names: []string{"node-5.example.com", "node-5"}, want: "removed node-5 (id-gone)\n", removed: []string{"id-gone"}, takes: returnTime},
		"by force, without a wait":                  {names: []string{"node-5"}, force: true, want: "removed node-5 (id-gone)\n", removed: []string{"id-gone"}},
		"a machine that is alive":                   {names: []string{"id-live"}, err: "node-6 (id-live) is alive", removed: []string{"id-live"}, takes: 2 * time.Second},
		"a machine that is alive, by force":         {names: []string{"id-live"}, force: true, want: "removed node-6 (id-live)\n", removed: []string{"id-live"}},
		"one alive, one gone":                       {names: []string{"id-live", "id-gone"}, want: "removed node-5 (id-gone)\n", err: "node-6 (id-live) is alive", removed: []string{"id-gone", "id-live"}, takes: returnTime},
		"an ID goes before a name":                  {names: []string{"node-6"}, force: true, want: "removed named-as-an-id (node-6)\n", removed: []string{"node-6"}},
		"a name of two machines":                    {names: []string{"twin"}, force: true, err: "2 machines have the name \"twin\": give one of the IDs id-a, id-b"},
		"a Talos node":                              {names: []string{"talos-1"}, err: "give --force"},
		"a Talos node and another":                  {names: []string{"id-gone", "talos-1"}, err: "talos-1 (id-talos) may be alive"},
		"a Talos node, by force":                    {names: []string{"talos-1"}, force: true, want: "removed talos-1 (id-talos)\n", removed: []string{"id-talos"}},
		"a machine with an earlier version":         {names: []string{"older"}, err: "older (id-old) may be alive, and with a version of spanctl that does not notice"},
		"a machine with one, by force":              {names: []string{"older"}, force: true, want: "removed older (id-old)\n", removed: []string{"id-old"}},
		"an affiliate of a stranger":                {names: []string{"stranger"}, want: "removed stranger\n", removed: []string{"stranger"}},
		"an ID as it is printed":                    {names: []string{`\x1b]0;x\a\nrow`}, want: `removed \x1b]0;x\a\nrow` + "\n", removed: []string{strangeID}},
		"a service that refuses to remove the last": {names: []string{"stranger", "denied"}, want: "removed stranger\n", err: "denied", removed: []string{"stranger"}},
	} {
		t.Run(title, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newFakeDiscovery()
				var out strings.Builder
				began := time.Now()
				err := removal{d, streams{out: &out}, c.force}.run(t.Context(), c.names)
				if (err != nil) != (c.err != "") || err != nil && !strings.Contains(err.Error(), c.err) {
					t.Errorf("the error is %v, want %q", err, c.err)
				}
				if out.String() != c.want {
					t.Errorf("printed %q, want %q", out.String(), c.want)
				}
				if removed := slices.Sorted(maps.Keys(d.away)); !slices.Equal(removed, c.removed) {
					t.Errorf("removed %q, want %q", removed, c.removed)
				}
				if took := time.Since(began); took != c.takes {
					t.Errorf("it took %v, want %v", took, c.takes)
				}
			})
		})
	}
}

func TestRemovalFromADiscoveryThatFails(t *testing.T) {
	d := newFakeDiscovery()
	d.fails = errors.New("unreachable")
	if err := (removal{discovery: d}).run(t.Context(), []string{"stranger"}); !errors.Is(err, d.fails) || len(d.away) > 0 {
		t.Errorf("got %v, removed %v", err, d.away)
	}
}
