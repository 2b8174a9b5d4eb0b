package server

import (
	"fmt"
	"time"

	"connectrpc.com/connect"

	"github.com/spanmesh/span/discoveryhttp/serverpb"
)

// The bounds of what a server takes. They are those of Sidero's service, whose
// clients stay within them.
const (
	maxID       = 256 // of clusters and of affiliates
	maxData     = 2048
	maxEndpoint = 32
	// MaxEndpoints is per affiliate, MaxAffiliates per cluster.
	MaxEndpoints  = 64
	MaxAffiliates = 1024
	// MaxTTL is how long an affiliate lives without a refresh; a longer wish is
	// cut to it.
	MaxTTL = 30 * time.Minute

	// maxRequest bounds a request in bytes: an update with all it may have.
	maxRequest = 16 << 10

	// endpointBlock is the cipher block that sealed endpoints are made of.
	endpointBlock = 16
)

func invalid(format string, args ...any) error {
	return connect.NewError(connect.CodeInvalidArgument, fmt.Errorf(format, args...))
}

func checkID(name, id string) error {
	if id == "" {
		return invalid("%s is missing", name)
	}
	if len(id) > maxID {
		return invalid("%s has %d bytes, at most %d are allowed", name, len(id), maxID)
	}
	return nil
}

func checkUpdate(m *serverpb.AffiliateUpdateRequest) error {
	if err := checkID("cluster_id", m.GetClusterId()); err != nil {
		return err
	}
	if err := checkID("affiliate_id", m.GetAffiliateId()); err != nil {
		return err
	}
	if len(m.GetAffiliateData()) > maxData {
		return invalid("affiliate_data has %d bytes, at most %d are allowed", len(m.GetAffiliateData()), maxData)
	}
	if len(m.GetAffiliateEndpoints()) > MaxEndpoints {
		return invalid("affiliate_endpoints has %d items, at most %d are allowed", len(m.GetAffiliateEndpoints()), MaxEndpoints)
	}
	for i, e := range m.GetAffiliateEndpoints() {
		if len(e) == 0 || len(e)%endpointBlock != 0 || len(e) > maxEndpoint {
			return invalid("affiliate_endpoints[%d] has %d bytes, sealed endpoints have %d or %d", i, len(e), endpointBlock, maxEndpoint)
		}
	}
	if m.GetTtl() == nil || m.GetTtl().CheckValid() != nil || m.GetTtl().AsDuration() <= 0 {
		return invalid("ttl must be longer than nothing")
	}
	return nil
}
