package storetest

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/spanmesh/span/discoveryhttp/server"
	"github.com/spanmesh/span/discoveryhttp/store"
)

// NewUpdate returns an update at Start. Empty data means none.
func NewUpdate(id, data string, expires time.Time, endpoints ...string) store.Update {
	u := store.Update{ID: id, Now: Start, TTL: expires.Sub(Start)}
	if data != "" {
		u.Data = []byte(data)
	}
	for _, e := range endpoints {
		u.Endpoints = append(u.Endpoints, []byte(e))
	}
	return u
}

// Update makes an update, which must succeed.
func Update(t *testing.T, s server.Store, cluster, id, data string, expires time.Time, endpoints ...string) {
	t.Helper()
	if err := s.Update(t.Context(), cluster, NewUpdate(id, data, expires, endpoints...)); err != nil {
		t.Fatal(err)
	}
}

// Counts returns the numbers of clusters, affiliates and watchers alone.
func Counts(s server.Store) store.Stats {
	all := s.Stats()
	return store.Stats{Clusters: all.Clusters, Affiliates: all.Affiliates, Watchers: all.Watchers, Invitations: all.Invitations}
}

// Show returns an affiliate as id=data[endpoint endpoint].
func Show(a store.Affiliate) string {
	data, raw := a.Parts()
	var endpoints []string
	for _, e := range raw {
		endpoints = append(endpoints, string(e))
	}
	return fmt.Sprintf("%s=%s%v", a.ID, data, endpoints)
}

// ShowEvent returns an event as +id=data[endpoint endpoint] or -id.
func ShowEvent(e *store.Event) string {
	if e.Deleted {
		return "-" + e.Affiliate.ID
	}
	return "+" + Show(e.Affiliate)
}

// List returns the affiliates of a cluster, as Show does.
func List(t *testing.T, s server.Store, cluster string) (out []string) {
	t.Helper()
	snapshot, err := s.List(t.Context(), cluster)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range snapshot.Affiliates {
		out = append(out, Show(a))
	}
	return out
}

// Expect compares a cluster with the affiliates that it should have.
func Expect(t *testing.T, s server.Store, cluster string, want ...string) {
	t.Helper()
	if got := List(t, s, cluster); !slices.Equal(got, want) {
		t.Errorf("%s has %v, want %v", cluster, got, want)
	}
}

// eventTimeout bounds the wait for an event.
const eventTimeout = time.Minute

// Next waits for events and returns all that are queued, as ShowEvent does.
func Next(t *testing.T, w *store.Watcher) (out []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), eventTimeout)
	defer cancel()
	events, err := w.Next(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		out = append(out, ShowEvent(e))
	}
	return out
}
