package server

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"strings"
	"time"

	"connectrpc.com/connect"
)

// Auth says who may see and change a cluster.
type Auth string

// The ways.
const (
	// Open lets everyone who knows the cluster's ID, as Sidero's service does and
	// the clients of Talos need.
	Open Auth = "open"
	// Member lets those who hold a token that follows from the cluster's secret.
	// The token of a cluster is the one that is seen first.
	Member Auth = "member"
)

// maxToken bounds a token in bytes.
const maxToken = 256

// authorize tells whether a caller may have to do with a cluster.
func (s *Server) authorize(ctx context.Context, clusterID string, header http.Header, now time.Time) error {
	if s.options.Auth != Member {
		return nil
	}
	scheme, token, _ := strings.Cut(header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") || token == "" || len(token) > maxToken {
		return connect.NewError(connect.CodeUnauthenticated, errors.New("this server wants the token of a member of the cluster"))
	}
	// Only the hash is kept: who reads the store cannot call in a member's name.
	hash := sha256.Sum256([]byte(token))
	ok, err := s.store.Pin(ctx, clusterID, hash[:], now)
	switch {
	case err != nil:
		return s.failed(err)
	case !ok:
		return connect.NewError(connect.CodePermissionDenied, errors.New("the token is not that of a member of the cluster"))
	}
	return nil
}
