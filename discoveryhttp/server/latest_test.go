package server

import (
	"slices"
	"testing"

	"github.com/spanmesh/span/discoveryhttp/store"
)

// TestLatest checks what is left of events that are sent together.
func TestLatest(t *testing.T) {
	update := func(id, data string) *store.Event { return store.NewUpdate(store.NewAffiliate(id, []byte(data), nil)) }
	first, second, farewell := update("a", "1"), update("a", "2"), update("a", "left")
	gone, other := store.NewDeletion("a"), update("b", "1")
	for name, test := range map[string]struct{ events, want []*store.Event }{
		"one":                               {[]*store.Event{first}, []*store.Event{first}},
		"of two affiliates":                 {[]*store.Event{first, other}, []*store.Event{first, other}},
		"the last update":                   {[]*store.Event{first, other, second}, []*store.Event{other, second}},
		"what it says before it is deleted": {[]*store.Event{first, farewell, other, gone}, []*store.Event{farewell, other, gone}},
		"that it is back":                   {[]*store.Event{farewell, gone, first}, []*store.Event{first}},
		"that it is gone again":             {[]*store.Event{gone, first, gone}, []*store.Event{first, gone}},
		"a deletion":                        {[]*store.Event{gone, gone, other}, []*store.Event{gone, other}},
	} {
		if got := latest(test.events); !slices.Equal(got, test.want) {
			t.Errorf("%s: %d events are left, want %d", name, len(got), len(test.want))
		}
	}
}
