package reconciler_test

import (
	"slices"
	"testing"

	"github.com/spanmesh/span/reconciler/condition"
)

// TestAFilterThatPassesNothingIsACondition has filters of the config that let nothing through, and
// the condition goes with them.
func TestAFilterThatPassesNothingIsACondition(t *testing.T) {
	engine, _, _ := newEngine()
	known := complete(affiliate(1, "10.0.0.1:51820"), affiliate(2, "10.0.0.2:51820"))
	subjects := func(settings string) (found []string) {
		pass, err := engine.Run(t.Context(), start, config(t, settings), known)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range pass.Conditions {
			if c.Code == condition.FilterPassesNothing {
				found = append(found, c.Subject)
			}
		}
		return found
	}
	for _, c := range []struct {
		settings string
		want     []string
	}{
		{`filters: {endpoints: ["!192.168.0.0/16"], peerEndpoints: ["!192.168.0.0/16"]}`, []string{"filters.endpoints", "filters.peerEndpoints"}},
		{`filters: peerEndpoints: ["10.0.0.2"]`, nil},
		{`filters: peerEndpoints: ["10.0.0.3"]`, []string{"filters.peerEndpoints"}},
		{`filters: {endpoints: ["0.0.0.0/0", "::/0", "!192.168.0.0/16"], peerEndpoints: ["0.0.0.0/0", "!192.168.0.0/16"]}`, nil},
	} {
		if got := subjects(c.settings); !slices.Equal(got, c.want) {
			t.Errorf("%s: conditions of %q, want %q", c.settings, got, c.want)
		}
	}
}
