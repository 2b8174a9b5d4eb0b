package server

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"net/netip"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/spanmesh/span/discoveryhttp/invitepb"
	"github.com/spanmesh/span/discoveryhttp/invitepb/invitepbconnect"
	"github.com/spanmesh/span/discoveryhttp/store"
)

const (
	// maxSealed bounds what an invitation seals, and maxInvite a request, in JSON, in bytes.
	maxSealed = 65 << 10
	maxInvite = 128 << 10
	// maxUses and maxLife bound an invitation.
	maxUses = 1000
	maxLife = 30 * 24 * time.Hour
)

// inviter keeps invitations. Which of them are there cannot be found out by trying: a name is
// random, and has 128 bits.
type inviter struct {
	server      *Server
	perAddress  *limiter[netip.Addr]
	all, owners *limiter[struct{}]
	open        *quota[netip.Addr]
}

var _ invitepbconnect.InviteServiceHandler = (*inviter)(nil)

func newInviter(s *Server) *inviter {
	rates := s.options.Limits.InviteRates
	return &inviter{server: s, perAddress: newLimiter[netip.Addr](rates.PerAddress), all: newLimiter[struct{}](rates.All),
		owners: newLimiter[struct{}](rates.Owners), open: newQuota[netip.Addr](s.options.Limits.InvitesPerAddress, s.options.Limits.Invites)}
}

// handler returns the handler of the service and its path.
func (n *inviter) handler() (string, http.Handler) {
	path, service := invitepbconnect.NewInviteServiceHandler(n, connect.WithReadMaxBytes(maxInvite),
		connect.WithCompression("gzip", nil, nil), connect.WithInterceptors(n.server.metrics))
	return path, n.withOpen(service)
}

// withOpen bounds the open calls, before what they bring is read.
func (n *inviter) withOpen(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key := rateKey(n.server.callers.of(r.RemoteAddr, r.Header))
		if n.open.enter(key) != nil {
			_ = connect.NewErrorWriter().Write(w, r, rateError("this address", time.Second)) // the client may be gone
			return
		}
		defer n.open.leave(key)
		next.ServeHTTP(w, r)
	})
}

// Create implements the service.
func (n *inviter) Create(ctx context.Context, req *connect.Request[invitepb.CreateRequest]) (*connect.Response[invitepb.CreateResponse], error) {
	caller, owner, err := n.admitOwner(ctx, req, req.Msg)
	if err != nil {
		return nil, err
	}
	i, err := newInvitation(req.Msg, time.Now())
	if err != nil {
		return nil, err
	}
	i.Owner, i.Caller = owner, string(rateKey(caller).AsSlice())
	switch err := n.server.store.CreateInvitation(ctx, i); {
	case errors.Is(err, store.ErrInvitationExists):
		return nil, connect.NewError(connect.CodeAlreadyExists, err)
	case err != nil:
		return nil, n.server.storeError(ctx, err)
	}
	n.server.log.Info("invitation created", "cluster", labelOf(req.Msg.GetClusterId()), "uses", i.Uses, "expires", i.Expires.UTC().Format(time.RFC3339))
	return connect.NewResponse(&invitepb.CreateResponse{Expires: timestamppb.New(i.Expires)}), nil
}

// newInvitation returns the invitation that a request asks for, without its owner and caller, or what
// is wrong with the request.
func newInvitation(m *invitepb.CreateRequest, now time.Time) (*store.Invitation, error) {
	name, err := nameOf(m.GetName())
	if err != nil {
		return nil, err
	}
	life := m.GetLife().AsDuration()
	switch size, uses := len(m.GetSealed()), m.GetUses(); {
	case size == 0 || size > maxSealed:
		return nil, invalid("sealed has %d bytes; from 1 to %d are allowed", size, maxSealed)
	case uses < 1 || uses > maxUses:
		return nil, invalid("uses is %d: want 1 to %d", uses, maxUses)
	case life < time.Second || life > maxLife:
		return nil, invalid("life is %v: want %v to %v", life, time.Second, maxLife)
	}
	// Stores keep milliseconds.
	now = now.Truncate(time.Millisecond)
	return &store.Invitation{Name: name, Created: now, Expires: now.Add(life).Truncate(time.Millisecond), Uses: int(m.GetUses()),
		Sealed: m.GetSealed(), Size: len(m.GetSealed())}, nil
}

func nameOf(raw []byte) (store.InvitationName, error) {
	if want := len(store.InvitationName{}); len(raw) != want {
		return store.InvitationName{}, invalid("name has %d bytes: want %d", len(raw), want)
	}
	return store.InvitationName(raw), nil
}

// Take implements the service. It needs no token: the name is what the caller has to know.
func (n *inviter) Take(ctx context.Context, req *connect.Request[invitepb.TakeRequest]) (*connect.Response[invitepb.TakeResponse], error) {
	caller := n.server.callers.of(req.Peer().Addr, req.Header())
	turn, err := n.server.admission.reserve(ctx, caller, time.Now())
	if err != nil {
		return nil, err
	}
	if err := n.server.admission.await(ctx, turn); err != nil {
		return nil, err
	}
	if err := n.admit(caller, time.Now()); err != nil {
		return nil, err
	}
	name, err := nameOf(req.Msg.GetName())
	if err != nil {
		return nil, err
	}
	if want := len(store.RequestID{}); len(req.Msg.GetRequestId()) != want {
		return nil, invalid("request_id has %d bytes: want %d", len(req.Msg.GetRequestId()), want)
	}
	now := time.Now().Truncate(time.Millisecond)
	i, err := n.server.store.TakeInvitation(ctx, name, store.RequestID(req.Msg.GetRequestId()), now)
	if err != nil {
		return nil, n.takeError(ctx, err, now)
	}
	n.server.log.Info("invitation taken", "used", len(i.Takers), "uses", i.Uses, "caller", caller.String())
	return connect.NewResponse(&invitepb.TakeResponse{Sealed: i.Sealed, Expires: timestamppb.New(i.Expires), Now: timestamppb.New(now)}), nil
}

// takeError returns the error of a call for one of TakeInvitation.
func (n *inviter) takeError(ctx context.Context, err error, now time.Time) error {
	if errors.Is(err, store.ErrNoInvitation) {
		return connect.NewError(connect.CodeNotFound, err)
	}
	ended, ok := errors.AsType[*store.EndedError](err)
	if !ok {
		return n.server.storeError(ctx, err)
	}
	reason := invitepb.Ended_REASON_EXPIRED
	if ended.Used {
		reason = invitepb.Ended_REASON_USED
	}
	answer := connect.NewError(connect.CodeFailedPrecondition, err)
	detail, err := connect.NewErrorDetail(&invitepb.Ended{Reason: reason, Expires: timestamppb.New(ended.Expires),
		Uses: uint32(ended.Uses), Now: timestamppb.New(now)}) //nolint:gosec // newInvitation bounds it
	if err == nil {
		answer.AddDetail(detail)
	}
	return answer
}

// List implements the service.
func (n *inviter) List(ctx context.Context, req *connect.Request[invitepb.ListRequest]) (*connect.Response[invitepb.ListResponse], error) {
	_, owner, err := n.admitOwner(ctx, req, req.Msg)
	if err != nil {
		return nil, err
	}
	owned, err := n.server.store.ListInvitations(ctx, owner)
	if err != nil {
		return nil, n.server.storeError(ctx, err)
	}
	response := &invitepb.ListResponse{}
	for _, i := range owned {
		one := &invitepb.Invitation{Name: i.Name[:], Created: timestamppb.New(i.Created), Expires: timestamppb.New(i.Expires),
			Uses: uint32(i.Uses), Used: uint32(len(i.Takers))} //nolint:gosec // newInvitation bounds both
		if !i.Taken.IsZero() {
			one.Taken = timestamppb.New(i.Taken)
		}
		response.Invitations = append(response.Invitations, one)
	}
	return connect.NewResponse(response), nil
}

// Revoke implements the service.
func (n *inviter) Revoke(ctx context.Context, req *connect.Request[invitepb.RevokeRequest]) (*connect.Response[invitepb.RevokeResponse], error) {
	_, owner, err := n.admitOwner(ctx, req, req.Msg)
	if err != nil {
		return nil, err
	}
	name, err := nameOf(req.Msg.GetName())
	if err != nil {
		return nil, err
	}
	switch err := n.server.store.RevokeInvitation(ctx, owner, name); {
	case errors.Is(err, store.ErrNoInvitation):
		return nil, connect.NewError(connect.CodeNotFound, err)
	case err != nil:
		return nil, n.server.storeError(ctx, err)
	}
	n.server.log.Info("invitation revoked", "cluster", labelOf(req.Msg.GetClusterId()))
	return connect.NewResponse(&invitepb.RevokeResponse{}), nil
}

// owned is a request of an owner.
type owned interface {
	GetClusterId() string
	GetOwner() []byte
}

// admitOwner admits a call of an owner as other calls of its cluster, and returns the caller and the
// hash of the owner's token.
func (n *inviter) admitOwner(ctx context.Context, req connect.AnyRequest, m owned) (netip.Addr, store.OwnerHash, error) {
	caller := n.server.callers.of(req.Peer().Addr, req.Header())
	c := call{procedure: req.Spec().Procedure, caller: caller, authorization: req.Header().Get("Authorization")}
	if _, err := n.server.admit(ctx, c, m.GetClusterId()); err != nil {
		return caller, store.OwnerHash{}, err
	}
	now := time.Now()
	if err := n.admit(caller, now); err != nil {
		return caller, store.OwnerHash{}, err
	}
	if wait, ok := n.owners.reserve(struct{}{}, now, 0); !ok {
		return caller, store.OwnerHash{}, rateError("all addresses", wait)
	}
	if len(m.GetOwner()) != sha256.Size {
		return caller, store.OwnerHash{}, invalid("owner has %d bytes: want %d", len(m.GetOwner()), sha256.Size)
	}
	return caller, sha256.Sum256(m.GetOwner()), nil
}

// admit counts a call at the rates of the service, which does not wait.
func (n *inviter) admit(caller netip.Addr, now time.Time) error {
	key := rateKey(caller)
	if wait, ok := n.perAddress.reserve(key, now, 0); !ok {
		return rateError("this address", wait)
	}
	if wait, ok := n.all.reserve(struct{}{}, now, 0); !ok {
		n.perAddress.cancel(key)
		return rateError("all addresses", wait)
	}
	return nil
}
