package store

import (
	"errors"
	"time"
)

// Update creates or refreshes an affiliate.
type Update struct {
	// ID is the affiliate's.
	ID string
	// Data replaces the stored data. Nil keeps it.
	Data []byte
	// Endpoints are added to the stored endpoints.
	Endpoints [][]byte
	// Now is the time of the update.
	Now time.Time
	// TTL is how long Data and Endpoints are kept from Now on unless they are
	// refreshed. Endpoints alone do not extend the life of the affiliate. An update
	// never shortens a life.
	TTL time.Duration
}

// Limits bound what a store keeps. Zero is no limit.
type Limits struct {
	// Affiliates is the limit of each cluster.
	Affiliates int
	// Watchers is the limit of each cluster, on this server.
	Watchers int
	// Endpoints is the limit of each affiliate.
	Endpoints int
	// Clusters is the limit of clusters that have an affiliate, a watcher or a pin.
	Clusters int
}

// Stats counts what a store keeps.
type Stats struct{ Clusters, Affiliates, Watchers int }

// PinLifetime is how long a pin is kept after its last use.
const PinLifetime = 30 * 24 * time.Hour

var (
	// ErrTooManyClusters is the error of a new cluster beyond Limits.Clusters.
	ErrTooManyClusters = errors.New("the server has reached its limit of clusters")
	// ErrTooManyAffiliates is the error of a new affiliate beyond Limits.Affiliates.
	ErrTooManyAffiliates = errors.New("the cluster has reached its limit of affiliates")
	// ErrTooManyEndpoints is the error of a new endpoint beyond Limits.Endpoints.
	ErrTooManyEndpoints = errors.New("the affiliate has reached its limit of endpoints")
	// ErrTooManyWatchers is the error of a new watch beyond Limits.Watchers.
	ErrTooManyWatchers = errors.New("the cluster has reached its limit of watchers")
	// ErrResync is the error of a watch that lost events, because its reader was slow
	// or the store lost its own watch. The reader must start a new watch.
	ErrResync = errors.New("watch lost events: start a new watch")
)
