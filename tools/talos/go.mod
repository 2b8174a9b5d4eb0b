module github.com/spanmesh/span/tools/talos

go 1.26.0

require (
	github.com/siderolabs/talos v1.12.0
	github.com/siderolabs/talos/pkg/machinery v1.12.0
)
