package store

import (
	"errors"
	"time"
)

// Affiliate is one affiliate as it is sent to watchers. It never changes once
// made: an update makes another.
type Affiliate struct {
	ID        string
	Data      []byte
	Endpoints [][]byte
}

// Update creates or refreshes an affiliate.
type Update struct {
	ID string
	// Data replaces what is known; nil leaves it.
	Data []byte
	// Endpoints are united with those known.
	Endpoints [][]byte
	// Expires is when the affiliate, if Data is set, and these endpoints go
	// unless they are refreshed. Endpoints alone do not prolong an affiliate.
	Expires time.Time
}

// Change is what happened to an affiliate.
type Change struct {
	Affiliate *Affiliate
	Deleted   bool
}

// Limits bound what a store keeps; zero is no bound.
type Limits struct {
	// Affiliates and Endpoints are per cluster and per affiliate.
	Affiliates, Endpoints int
}

var (
	// ErrTooManyAffiliates says that a cluster is full.
	ErrTooManyAffiliates = errors.New("the cluster has as many affiliates as this server keeps")
	// ErrTooManyEndpoints says that an affiliate has its fill of endpoints.
	ErrTooManyEndpoints = errors.New("the affiliate has as many endpoints as this server keeps")
)
