package server

// Sent returns what the account of a server counts, in bytes.
func (s *Server) Sent() int64 { return s.account.inUse() }

// What a call may have in its header, and what is counted for a watch, in bytes.
const (
	HeaderList  = headerList
	WatchMemory = watchMemory + callMemory
	// ClusterMemory is counted for a cluster.
	ClusterMemory = clusterMemory
)

// OpenCalls returns the number of open calls.
func (s *Server) OpenCalls() int { return s.calls.count() }
