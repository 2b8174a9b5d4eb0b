package server_test

import (
	"bytes"
	"context"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/spanmesh/span/discoveryhttp/server"
	"github.com/spanmesh/span/discoveryhttp/serverpb"
	"github.com/spanmesh/span/discoveryhttp/serverpb/serverpbconnect"
	"github.com/spanmesh/span/discoveryhttp/store"
	"github.com/spanmesh/span/discoveryhttp/store/storetest"
)

// tinyStore is a store that uses only what package store exports, as one in another
// module would. Affiliates do not expire.
type tinyStore struct {
	server.Invitations
	limits store.Limits

	mu       sync.Mutex
	clusters map[string]*tinyCluster
}

type tinyCluster struct {
	affiliates map[string]store.Affiliate
	log        *store.Log
	pin        []byte
}

var _ server.Store = (*tinyStore)(nil)

// lock locks the store and returns a cluster, and the function that unlocks.
func (s *tinyStore) lock(clusterID string) (*tinyCluster, func()) {
	s.mu.Lock()
	c := s.clusters[clusterID]
	if c == nil {
		c = &tinyCluster{affiliates: map[string]store.Affiliate{}, log: store.NewLog(nil)}
		s.clusters[clusterID] = c
	}
	return c, s.mu.Unlock
}

func (c *tinyCluster) snapshot() *store.Snapshot {
	return store.NewSnapshot(slices.Collect(maps.Values(c.affiliates)))
}

func (s *tinyStore) Update(_ context.Context, clusterID string, u store.Update) error {
	c, unlock := s.lock(clusterID)
	defer unlock()
	if !c.admits(u.Token) {
		return store.ErrOtherToken
	}
	before, exists := c.affiliates[u.ID]
	if !exists && s.limits.Affiliates > 0 && len(c.affiliates) >= s.limits.Affiliates {
		return store.ErrTooManyAffiliates
	}
	data, endpoints := before.Parts()
	if u.Data != nil {
		data = u.Data
	}
	for _, e := range u.Endpoints {
		if !slices.ContainsFunc(endpoints, func(known []byte) bool { return bytes.Equal(known, e) }) {
			endpoints = append(endpoints, e)
		}
	}
	if s.limits.Endpoints > 0 && len(endpoints) > s.limits.Endpoints {
		return store.ErrTooManyEndpoints
	}
	after := store.NewAffiliate(u.ID, data, endpoints)
	c.affiliates[u.ID] = after
	if u.Token != nil {
		c.pin = u.Token
	}
	if !bytes.Equal(before.Wire(), after.Wire()) {
		c.log.Push(store.NewUpdate(after))
	}
	return nil
}

func (s *tinyStore) Delete(_ context.Context, clusterID, id string) error {
	c, unlock := s.lock(clusterID)
	defer unlock()
	if _, exists := c.affiliates[id]; exists {
		delete(c.affiliates, id)
		c.log.Push(store.NewDeletion(id))
	}
	return nil
}

func (s *tinyStore) List(_ context.Context, clusterID string) (*store.Snapshot, error) {
	c, unlock := s.lock(clusterID)
	defer unlock()
	return c.snapshot(), nil
}

func (s *tinyStore) Watch(_ context.Context, clusterID string, _ netip.Addr, token []byte) (*store.Snapshot, *store.Watcher, error) {
	c, unlock := s.lock(clusterID)
	defer unlock()
	if !c.admits(token) {
		return nil, nil, store.ErrOtherToken
	}
	if s.limits.Watchers > 0 && c.log.Watchers() >= s.limits.Watchers {
		return nil, nil, store.ErrTooManyWatchers
	}
	return c.snapshot(), c.log.Watch(func() {}), nil
}

func (s *tinyStore) Admit(_ context.Context, clusterID string, token []byte, _ time.Time) (bool, error) {
	c, unlock := s.lock(clusterID)
	defer unlock()
	return c.admits(token), nil
}

func (c *tinyCluster) admits(token []byte) bool {
	return token == nil || c.pin == nil || bytes.Equal(c.pin, token)
}

func (*tinyStore) Expire(time.Time) error      { return nil }
func (*tinyStore) Stats() store.Stats          { return store.Stats{} }
func (*tinyStore) Ready(context.Context) error { return nil }

// TestStoreOfAnotherPackage serves from a store that is implemented outside of package
// store.
func TestStoreOfAnotherPackage(t *testing.T) {
	storetest.Run(t, func(_ *testing.T, limits store.Limits) server.Store {
		return &tinyStore{Invitations: store.NewMemory(limits), limits: limits, clusters: map[string]*tinyCluster{}}
	}, "an affiliate evicts endpoints", "an affiliate evicts one without", "a limit of endpoints", "a limit of clusters", "a limit of bytes",
		"a limit of a caller's bytes", "a limit of a caller's clusters", "watched clusters of a caller", "a watched cluster that is left", "a pin ends watches with another",
		"what it keeps is counted", "invitations are counted")

	t.Run("served", func(t *testing.T) {
		s := httptest.NewServer(server.New(t.Context(), server.Options{
			Store: &tinyStore{clusters: map[string]*tinyCluster{}}, Limits: server.DefaultLimits(), Log: slog.New(slog.DiscardHandler),
		}).Handler())
		t.Cleanup(s.Close)
		client := serverpbconnect.NewClusterClient(http.DefaultClient, s.URL)
		if _, err := client.AffiliateUpdate(t.Context(), updateRequest("c", "a", "data")); err != nil {
			t.Fatal(err)
		}
		list, err := client.List(t.Context(), connect.NewRequest(&serverpb.ListRequest{ClusterId: "c"}))
		if err != nil || len(list.Msg.GetAffiliates()) != 1 || string(list.Msg.GetAffiliates()[0].GetData()) != "data" {
			t.Errorf("list: %v, %v", list, err)
		}
	})
}
