package server

import (
	"context"
	"crypto/sha256"
	"errors"
	"strings"
	"time"

	"connectrpc.com/connect"
)

// Auth is the policy on who may read and change a cluster.
type Auth string

const (
	// Open admits every caller that knows the cluster's ID. Talos nodes need it;
	// Sidero's service does the same.
	Open Auth = "open"
	// Member admits callers with the member token, which is derived from the
	// cluster's secret. The first token that a cluster is used with is pinned.
	Member Auth = "member"
)

// maxToken bounds a token, in bytes.
const maxToken = 256

// authorize returns an error if the caller may not use a cluster.
func (s *Server) authorize(ctx context.Context, clusterID, authorization string, now time.Time) error {
	if s.options.Auth != Member {
		return nil
	}
	scheme, token, _ := strings.Cut(authorization, " ")
	if !strings.EqualFold(scheme, "Bearer") || token == "" || len(token) > maxToken {
		return connect.NewError(connect.CodeUnauthenticated, errors.New("the member token of the cluster is missing"))
	}
	// The store has only the hash, so that its readers do not learn the token.
	hash := sha256.Sum256([]byte(token))
	ok, err := s.store.Pin(ctx, clusterID, hash[:], now)
	switch {
	case err != nil:
		return s.storeError(ctx, err)
	case !ok:
		return connect.NewError(connect.CodePermissionDenied, errors.New("the member token is not that of the cluster"))
	}
	return nil
}
