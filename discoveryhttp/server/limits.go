package server

import (
	"fmt"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/spanmesh/span/discoveryhttp/serverpb"
	"github.com/spanmesh/span/discoveryhttp/store"
)

// Limits are the bounds of what a server takes.
type Limits struct {
	// ID is the longest cluster or affiliate ID, Data and Endpoint the longest
	// sealed affiliate and endpoint, in bytes.
	ID, Data, Endpoint int
	// Store bounds what is kept.
	Store store.Limits
	// TTL is how long an affiliate lives without a refresh; a longer wish is cut
	// to it.
	TTL time.Duration
	// PerAddress and PerCluster bound how often one address (of IPv6, one /64)
	// and all machines of one cluster may call.
	PerAddress, PerCluster Rate
}

// Rate is calls per second, with bursts. A zero PerSecond is no bound.
type Rate struct {
	PerSecond float64
	Burst     int
}

// DefaultLimits are those of Sidero's service, whose clients stay within them;
// that one does not bound clusters and watchers.
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

// request is the largest request in bytes: an update with all that it may have,
// in base64 and with JSON around it.
func (l Limits) request() int {
	return 2 * (2*l.ID + l.Data + l.Store.Endpoints*(l.Endpoint+8) + 512)
}

// endpointBlock is the cipher block that sealed endpoints are made of, in bytes.
const endpointBlock = 16

func invalid(format string, args ...any) error {
	return connect.NewError(connect.CodeInvalidArgument, fmt.Errorf(format, args...))
}

func (l Limits) checkID(name, id string) error {
	if id == "" {
		return invalid("%s is missing", name)
	}
	if len(id) > l.ID {
		return invalid("%s has %d bytes, at most %d are allowed", name, len(id), l.ID)
	}
	return nil
}

func (l Limits) checkUpdate(m *serverpb.AffiliateUpdateRequest) error {
	if err := l.checkID("affiliate_id", m.GetAffiliateId()); err != nil {
		return err
	}
	if len(m.GetAffiliateData()) > l.Data {
		return invalid("affiliate_data has %d bytes, at most %d are allowed", len(m.GetAffiliateData()), l.Data)
	}
	if len(m.GetAffiliateEndpoints()) > l.Store.Endpoints {
		return invalid("affiliate_endpoints has %d items, at most %d are allowed", len(m.GetAffiliateEndpoints()), l.Store.Endpoints)
	}
	for i, e := range m.GetAffiliateEndpoints() {
		if len(e) == 0 || len(e)%endpointBlock != 0 || len(e) > l.Endpoint {
			return invalid("affiliate_endpoints[%d] has %d bytes, sealed endpoints have a multiple of %d, at most %d", i, len(e), endpointBlock, l.Endpoint)
		}
	}
	return checkTTL(m.GetTtl())
}

func checkTTL(ttl *durationpb.Duration) error {
	if ttl == nil {
		return invalid("ttl is missing")
	}
	if err := ttl.CheckValid(); err != nil {
		return invalid("ttl is no duration: %v", err)
	}
	if ttl.AsDuration() <= 0 {
		return invalid("ttl must be longer than nothing")
	}
	return nil
}
