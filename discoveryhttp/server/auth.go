package server

import (
	"context"
	"crypto/sha256"
	"errors"
	"strings"
	"time"

	"connectrpc.com/connect"

	"github.com/spanmesh/span/discoveryhttp/store"
)

// Auth is the policy on who may read and change a cluster.
type Auth string

const (
	// Open admits every caller that knows the cluster's ID. Talos nodes need it;
	// Sidero's service does the same.
	Open Auth = "open"
	// Member admits callers with the member token, which is derived from the
	// cluster's secret. The token of a cluster's first affiliate is pinned.
	Member Auth = "member"
)

// maxToken bounds a token, in bytes.
const maxToken = 256

// authorize returns the hash of the caller's token, nil if none is needed, or an error
// if the caller may not use a cluster.
func (s *Server) authorize(ctx context.Context, clusterID, authorization string, now time.Time) ([]byte, error) {
	if s.options.Auth != Member {
		return nil, nil
	}
	scheme, token, _ := strings.Cut(authorization, " ")
	if !strings.EqualFold(scheme, "Bearer") || token == "" || len(token) > maxToken {
		return nil, connect.NewError(connect.CodeUnauthenticated, errors.New("the member token of the cluster is missing"))
	}
	// The store has only the hash, so that its readers do not learn the token.
	hash := sha256.Sum256([]byte(token))
	ok, err := s.store.Admit(ctx, clusterID, hash[:], now)
	switch {
	case err != nil:
		return nil, s.storeError(ctx, err)
	case !ok:
		return nil, s.storeError(ctx, store.ErrOtherToken)
	}
	return hash[:], nil
}
