package store

import (
	"errors"
	"net/netip"
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
	// refreshed. With Data it is the life of the affiliate from Now on, which may be
	// shorter than before. Endpoints alone do not change the life of an affiliate with
	// data. The life of an endpoint never gets shorter.
	TTL time.Duration
	// Caller is charged for what the update stores: its address, or IPv6 /64. An invalid
	// address is charged to nobody.
	Caller netip.Addr
	// Token is the hash of the caller's member token. It becomes the pin of a cluster
	// without one. Nil if the server takes no tokens.
	Token []byte
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
	// Bytes is the limit of all affiliates together: of about what they take in memory,
	// which is 256 bytes more than their IDs and encodings each.
	Bytes int64
	// CallerBytes is the limit of the affiliates that are charged to one caller: to the last
	// that has sent their data. Memory and Bolt give a caller no more than what is left of
	// Bytes for all others, either.
	CallerBytes int64
	// Backlog is the limit of the changes that watchers have not taken, on this server: of about
	// what they take in memory, in bytes. Beyond it, watchers that are behind must start again.
	Backlog int64
	// CallerClusters is the limit of clusters that one caller has created, by an update or by a
	// watch. The first update of a cluster moves the charge to its caller.
	CallerClusters int
	// Invitations is the limit of all invitations, with those that have expired within a day.
	// OwnerInvitations is that of those of one owner that have not expired, and CallerInvitations
	// that of those that one caller has made.
	Invitations, OwnerInvitations, CallerInvitations int
	// InvitationBytes is the limit of all invitations together: of about what they take in memory,
	// in bytes. CallerInvitationBytes is that of those that one caller has made.
	InvitationBytes, CallerInvitationBytes int64
}

// Stats counts what a store keeps. A change that is being written may be counted already.
type Stats struct {
	// Kind is memory, bolt or etcd.
	Kind string
	// Endpoints are those of all affiliates.
	Clusters, Affiliates, Endpoints, Watchers int
	// Invitations are those that are known, with those that have expired within a day.
	Invitations int
	// Bytes is what Limits.Bytes bounds, and Backlog what Limits.Backlog does, in bytes.
	Bytes, Backlog int64
	// File is the size of the store's file, in bytes; 0 if it has none.
	File int64
	// Written is when the file was last written, by this process; zero if it was not.
	Written time.Time
}

const (
	minPinLife = 10 * time.Minute
	maxPinLife = 30 * 24 * time.Hour
)

// PinLife returns how long a pin is kept after its last use: as long as it had been in
// use, between 10 minutes and 30 days. So a made-up token for a cluster that nobody has
// goes after minutes.
func PinLife(created, used time.Time) time.Duration {
	return min(max(used.Sub(created), minPinLife), maxPinLife)
}

var (
	// ErrTooManyClusters is the error of a new cluster beyond Limits.Clusters.
	ErrTooManyClusters = errors.New("the server has reached its limit of clusters")
	// ErrTooManyAffiliates is the error of a new affiliate beyond Limits.Affiliates.
	ErrTooManyAffiliates = errors.New("the cluster has reached its limit of affiliates")
	// ErrTooManyEndpoints is the error of endpoints beyond Limits.Endpoints. The data and
	// the endpoints that fit are stored.
	ErrTooManyEndpoints = errors.New("the affiliate has reached its limit of endpoints: the others were stored")
	// ErrTooManyWatchers is the error of a new watch beyond Limits.Watchers.
	ErrTooManyWatchers = errors.New("the cluster has reached its limit of watchers")
	// ErrFull is the error of an update beyond Limits.Bytes.
	ErrFull = errors.New("the server has reached its limit of stored bytes")
	// ErrCallerFull is the error of what is beyond a limit of one caller: Limits.CallerBytes,
	// CallerClusters, CallerInvitations or CallerInvitationBytes.
	ErrCallerFull = errors.New("this address has reached its limit of stored bytes, clusters or invitations")
	// ErrOtherToken is the error of a call with another token than the cluster's pin.
	ErrOtherToken = errors.New("the member token is not that of the cluster")
	// ErrResync is the error of a watch that lost events, because its reader was slow
	// or the store lost its own watch. The reader must start a new watch.
	ErrResync = errors.New("watch lost events: start a new watch")
)
