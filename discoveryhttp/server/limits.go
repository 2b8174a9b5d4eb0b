package server

import (
	"fmt"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/spanmesh/span/discoveryhttp/serverpb"
	"github.com/spanmesh/span/discoveryhttp/store"
)

// Limits are the bounds of what a server accepts.
type Limits struct {
	// ID bounds a cluster or affiliate ID, in bytes.
	ID int
	// Data bounds the sealed data of an affiliate, in bytes.
	Data int
	// Endpoint bounds a sealed endpoint, in bytes.
	Endpoint int
	// Store bounds what the store keeps.
	Store store.Limits
	// TTL bounds the life of an affiliate without a refresh. A longer TTL in a request
	// is reduced to it.
	TTL time.Duration
	// PerAddress is the rate of one address, or of one IPv6 /64.
	PerAddress Rate
	// PerCluster is the rate of all callers of one cluster together.
	PerCluster Rate
}

// Rate bounds calls. Zero is no bound.
type Rate struct {
	// PerSecond is the long-term rate of calls.
	PerSecond float64
	// Burst is the number of calls that may come at once.
	Burst int
}

// DefaultLimits returns the limits of Sidero's service, which its clients comply
// with, and limits of clusters and watchers, which that service does not have.
func DefaultLimits() Limits {
	return Limits{
		ID:         256,
		Data:       2048,
		Endpoint:   32,
		Store:      store.Limits{Affiliates: 1024, Watchers: 4096, Endpoints: 64, Clusters: 100_000},
		TTL:        30 * time.Minute,
		PerAddress: Rate{PerSecond: 15, Burst: 60},
		PerCluster: Rate{PerSecond: 500, Burst: 4096},
	}
}

// request returns the size of the largest request, in bytes: an update with the
// largest data and all endpoints, in base64 within JSON.
func (l Limits) request() int {
	return 2 * (2*l.ID + l.Data + l.Store.Endpoints*(l.Endpoint+8) + 512)
}

// endpointBlock is the AES block size, of which a sealed endpoint is a multiple, in
// bytes.
const endpointBlock = 16

func invalid(format string, args ...any) error {
	return connect.NewError(connect.CodeInvalidArgument, fmt.Errorf(format, args...))
}

func (l Limits) checkID(name, id string) error {
	if id == "" {
		return invalid("%s is missing", name)
	}
	if len(id) > l.ID {
		return invalid("%s has %d bytes; at most %d are allowed", name, len(id), l.ID)
	}
	return nil
}

func (l Limits) checkUpdate(m *serverpb.AffiliateUpdateRequest) error {
	if err := l.checkID("affiliate_id", m.GetAffiliateId()); err != nil {
		return err
	}
	if len(m.GetAffiliateData()) > l.Data {
		return invalid("affiliate_data has %d bytes; at most %d are allowed", len(m.GetAffiliateData()), l.Data)
	}
	if len(m.GetAffiliateEndpoints()) > l.Store.Endpoints {
		return invalid("affiliate_endpoints has %d items; at most %d are allowed", len(m.GetAffiliateEndpoints()), l.Store.Endpoints)
	}
	for i, e := range m.GetAffiliateEndpoints() {
		if len(e) == 0 || len(e)%endpointBlock != 0 || len(e) > l.Endpoint {
			return invalid("affiliate_endpoints[%d] has %d bytes; a sealed endpoint has a multiple of %d, at most %d", i, len(e), endpointBlock, l.Endpoint)
		}
	}
	return checkTTL(m.GetTtl())
}

func checkTTL(ttl *durationpb.Duration) error {
	if ttl == nil {
		return invalid("ttl is missing")
	}
	if err := ttl.CheckValid(); err != nil {
		return invalid("ttl is not a valid duration: %v", err)
	}
	if ttl.AsDuration() <= 0 {
		return invalid("ttl must be positive")
	}
	return nil
}
