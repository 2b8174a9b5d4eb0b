package store_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/spanmesh/span/discoveryhttp/store"
	"github.com/spanmesh/span/discoveryhttp/store/storetest"
)

// TestSnapshotsDoNotEndWatches has as many snapshots as are kept of clusters whose affiliates were
// replaced, and a watch of another cluster that is behind by one change.
func TestSnapshotsDoNotEndWatches(t *testing.T) {
	const limit = 64 << 10
	s := store.NewMemory(store.Limits{Backlog: limit})
	_, w, err := s.Watch(t.Context(), "other", netip.Addr{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	kept := int64(-1)
	for k := 0; s.Stats().Backlog > kept; k++ {
		kept = s.Stats().Backlog
		cluster := fmt.Sprint(k)
		storetest.Update(t, s, cluster, "a", strings.Repeat("x", 300), storetest.In(30))
		storetest.List(t, s, cluster)
		storetest.Update(t, s, cluster, "a", "z", storetest.In(30))
	}
	if kept < limit/4 {
		t.Fatalf("%d bytes are kept", kept)
	}
	data := strings.Repeat("a", 2000)
	storetest.Update(t, s, "other", "a", data, storetest.In(30))
	if got := storetest.Next(t, w); !slices.Equal(got, []string{"+a=" + data + "[]"}) {
		t.Errorf("got %.200q", got)
	}
}
