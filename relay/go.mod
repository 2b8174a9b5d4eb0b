module github.com/spanmesh/span/relay

go 1.26.0
