package server

// Sent returns what the account of a server counts, in bytes.
func (s *Server) Sent() int64 { return s.account.inUse() }
