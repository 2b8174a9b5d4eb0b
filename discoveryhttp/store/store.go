package store

import (
	"errors"
	"time"
)

// Update creates or refreshes an affiliate.
type Update struct {
	ID string
	// Data replaces what is known; nil leaves it.
	Data []byte
	// Endpoints are united with those known.
	Endpoints [][]byte
	// TTL is how long the affiliate, if Data is set, and these endpoints live
	// from Now unless they are refreshed. Endpoints alone do not prolong an
	// affiliate.
	Now time.Time
	TTL time.Duration
}

// Limits bound what a store keeps; zero is no bound.
type Limits struct {
	// Affiliates and Watchers are per cluster, Endpoints per affiliate.
	Affiliates, Watchers, Endpoints int
	// Clusters are all that have an affiliate, a watcher or a pin.
	Clusters int
}

// Stats counts what a store keeps.
type Stats struct{ Clusters, Affiliates, Watchers int }

// PinLifetime is how long a pin stays after its last use.
const PinLifetime = 30 * 24 * time.Hour

var (
	// ErrTooManyClusters says that the server is full.
	ErrTooManyClusters = errors.New("the server has as many clusters as it keeps")
	// ErrTooManyAffiliates says that a cluster is full.
	ErrTooManyAffiliates = errors.New("the cluster has as many affiliates as this server keeps")
	// ErrTooManyEndpoints says that an affiliate has its fill of endpoints.
	ErrTooManyEndpoints = errors.New("the affiliate has as many endpoints as this server keeps")
	// ErrTooManyWatchers says that a cluster has its fill of watchers.
	ErrTooManyWatchers = errors.New("the cluster has as many watchers as this server serves")
	// ErrLagging says that a watcher fell behind and must begin again.
	ErrLagging = errors.New("the watch fell behind: start over with a snapshot")
)
