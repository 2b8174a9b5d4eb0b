package server

import (
	"net/netip"

	"github.com/spanmesh/span/discoveryhttp/serverpb/serverpbconnect"
)

// call is what the server knows of a call, by whatever transport it came.
type call struct {
	// procedure is the path of the called method.
	procedure string
	// caller is the address of the caller, as told by a trusted proxy if there is one. It
	// is not valid if the transport has no addresses.
	caller netip.Addr
	// authorization is the value of the header of that name.
	authorization string
}

// procedures are the paths of all methods.
var procedures = []string{
	serverpbconnect.ClusterHelloProcedure,
	serverpbconnect.ClusterAffiliateUpdateProcedure,
	serverpbconnect.ClusterAffiliateDeleteProcedure,
	serverpbconnect.ClusterListProcedure,
	serverpbconnect.ClusterWatchProcedure,
}
