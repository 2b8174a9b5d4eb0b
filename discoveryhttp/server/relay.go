package server

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"net/netip"
	"time"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/spanmesh/span/discoveryhttp/relaypb"
	"github.com/spanmesh/span/discoveryhttp/relaypb/relaypbconnect"
)

// Relay forwards packets of WireGuard between the machines that join it. It is safe for concurrent
// use. Its metrics are collected with those of the server.
type Relay interface {
	prometheus.Collector
	// Run serves until ctx ends. Then it closes the streams and sockets.
	Run(ctx context.Context) error
	// PublicKey returns the relay's public key.
	PublicKey() [keySize]byte
	// Verify returns an error unless a proof of a time shows that its maker has the private key of a
	// member, and asks for a cluster.
	Verify(now time.Time, clusterID string, member [keySize]byte, made time.Time, proof []byte) error
	// Join lets a member register for RelayLease, and reach the others of the same group. An error
	// means that a limit is reached.
	Join(now time.Time, group string, member [keySize]byte, from netip.Addr, withoutAgent [][keySize]byte) error
	// ServeStream answers a request for a stream of packets, and carries them until it ends.
	ServeStream(w http.ResponseWriter, r *http.Request, caller netip.AddrPort) error
}

const (
	// RelayPath is where a Relay's streams are asked for.
	RelayPath = "/relay"
	// RelayLease is how long a machine may register at the relay after it has joined.
	RelayLease = time.Hour
	// keySize is the size of a key of WireGuard, in bytes.
	keySize = 32
	// maxJoin bounds a request, in bytes: in JSON, a key takes 47.
	maxJoin = 64 << 10
)

// relayService lets callers use a relay.
type relayService struct {
	server *Server
	relay  Relay
	// address is what Describe returns.
	address string
}

var _ relaypbconnect.RelayServiceHandler = (*relayService)(nil)

// Describe implements the service.
func (s *relayService) Describe(ctx context.Context, req *connect.Request[relaypb.DescribeRequest]) (*connect.Response[relaypb.DescribeResponse], error) {
	if _, err := s.server.admit(ctx, connectHandler{s.server}.callOf(req), req.Msg.GetClusterId()); err != nil {
		return nil, err
	}
	key := s.relay.PublicKey()
	return connect.NewResponse(&relaypb.DescribeResponse{PublicKey: key[:], Address: s.address, StreamPath: RelayPath}), nil
}

// Join implements the service.
func (s *relayService) Join(ctx context.Context, req *connect.Request[relaypb.JoinRequest]) (*connect.Response[relaypb.JoinResponse], error) {
	c, m := connectHandler{s.server}.callOf(req), req.Msg
	if _, err := s.server.admit(ctx, c, m.GetClusterId()); err != nil {
		return nil, err
	}
	member, err := keyIn("public_key", m.GetPublicKey())
	if err != nil {
		return nil, err
	}
	if member == s.relay.PublicKey() {
		return nil, invalid("public_key is that of the relay")
	}
	withoutAgent := make([][keySize]byte, len(m.GetKeysWithoutAgent()))
	for i, k := range m.GetKeysWithoutAgent() {
		if withoutAgent[i], err = keyIn("keys_without_agent", k); err != nil {
			return nil, err
		}
	}
	if err := m.GetMade().CheckValid(); err != nil {
		return nil, invalid("made is no time: %v", err)
	}
	now := time.Now()
	if err := s.relay.Verify(now, m.GetClusterId(), member, m.GetMade().AsTime(), m.GetProof()); err != nil {
		return nil, connect.NewError(connect.CodePermissionDenied, err)
	}
	if err := s.relay.Join(now, groupOf(m.GetClusterId()), member, c.caller, withoutAgent); err != nil {
		return nil, connect.NewError(connect.CodeResourceExhausted, err)
	}
	return connect.NewResponse(&relaypb.JoinResponse{Lease: durationpb.New(RelayLease)}), nil
}

// groupOf returns the name of a cluster at the relay, whose table is on a disk. It is a hash, because
// the ID is a password where no token is needed.
func groupOf(clusterID string) string {
	sum := sha256.Sum256([]byte("relay " + clusterID))
	return hex.EncodeToString(sum[:])
}

// keyIn returns the key in a field of a request.
func keyIn(field string, b []byte) (key [keySize]byte, err error) {
	if len(b) != keySize {
		return key, invalid("%s has %d bytes; want %d", field, len(b), keySize)
	}
	if key = [keySize]byte(b); key == ([keySize]byte{}) {
		return key, invalid("%s has zeros only", field)
	}
	return key, nil
}

// relayStream answers a request for a stream of packets.
func (s *Server) relayStream(w http.ResponseWriter, r *http.Request) {
	caller := s.callers.of(r.RemoteAddr, r.Header)
	turn, err := s.admission.reserve(r.Context(), caller, time.Now())
	if err == nil {
		err = s.admission.await(r.Context(), turn)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusTooManyRequests)
		return
	}
	if err := s.options.Relay.ServeStream(w, r, netip.AddrPortFrom(caller, 0)); err != nil && !errors.Is(err, context.Canceled) {
		s.log.Debug("stream of the relay ended", "error", err)
	}
}
