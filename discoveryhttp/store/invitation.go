package store

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/spanmesh/span/discoveryhttp/storepb"
)

// InvitationName names an invitation. Who does not know it cannot take it.
type InvitationName [16]byte

// RequestID is chosen by who takes an invitation. The same ID counts once.
type RequestID [16]byte

// OwnerHash is the SHA-256 of the token of who has made an invitation.
type OwnerHash [32]byte

// Invitation is a sealed config for machines that are to join a cluster.
type Invitation struct {
	Name  InvitationName
	Owner OwnerHash
	// Created and Expires are times of the server. Taken is when it was last taken; zero if it was
	// not.
	Created, Expires, Taken time.Time
	// Uses is how often it may be taken, and Takers are those who did.
	Uses   int
	Takers []RequestID
	// Sealed is gone once the invitation has expired. Size is its length, in bytes.
	Sealed []byte
	Size   int
	// Caller is charged for it: an address, or IPv6 /64, in bytes. Empty for nobody.
	Caller string
}

const (
	// invitationGrace is how long it is known that an invitation has expired.
	invitationGrace = 24 * time.Hour
	// invitationOverhead is about what an invitation takes besides what is sealed, in bytes.
	invitationOverhead = 256
)

var (
	// ErrNoInvitation is the error of an invitation that is not known, or is not the owner's.
	ErrNoInvitation = errors.New("there is no such invitation")
	// ErrInvitationExists is the error of a second invitation of the same name.
	ErrInvitationExists = errors.New("there is an invitation of this name")
	// ErrTooManyInvitations is the error of an invitation beyond Limits.Invitations or
	// Limits.OwnerInvitations.
	ErrTooManyInvitations = errors.New("the server or the cluster has reached its limit of invitations")
)

// EndedError is the error of an invitation that cannot be taken any more.
type EndedError struct {
	// Used is set if it is used up; else it has expired.
	Used    bool
	Uses    int
	Expires time.Time
}

// Error implements error.
func (e *EndedError) Error() string {
	if e.Used {
		return fmt.Sprintf("the invitation was for %d uses, and is used up", e.Uses)
	}
	return "the invitation expired at " + e.Expires.UTC().Format(time.RFC3339)
}

// HasExpired reports whether the invitation cannot be taken at a time, and what it seals goes.
func (i *Invitation) HasExpired(now time.Time) bool { return !now.Before(i.Expires) }

// Forgotten returns when nothing is known of the invitation any more.
func (i *Invitation) Forgotten() time.Time { return i.Expires.Add(invitationGrace) }

// Take returns the invitation after a request, which is i itself if the request has been counted
// already. The error is an *EndedError if it cannot be taken.
func (i *Invitation) Take(request RequestID, now time.Time) (*Invitation, error) {
	if i.HasExpired(now) {
		return nil, &EndedError{Uses: i.Uses, Expires: i.Expires}
	}
	if slices.Contains(i.Takers, request) {
		return i, nil
	}
	if len(i.Takers) >= i.Uses {
		return nil, &EndedError{Used: true, Uses: i.Uses, Expires: i.Expires}
	}
	after := *i
	after.Takers = append(slices.Clip(i.Takers), request)
	after.Taken = now
	return &after, nil
}

// cost returns what an invitation is charged with at a time, in bytes: what it takes once it is used
// up.
func (i *Invitation) cost(now time.Time) int64 {
	cost := invitationOverhead + int64(i.Uses)*int64(len(RequestID{}))
	if !i.HasExpired(now) {
		cost += int64(i.Size)
	}
	return cost
}

// CheckInvitation returns the limit that an invitation exceeds beside those that there are.
func (l Limits) CheckInvitation(added *Invitation, there iter.Seq[*Invitation]) error {
	now := added.Created
	all, owned, callers := 1, 1, 1
	total, charged := added.cost(now), added.cost(now)
	for i := range there {
		all++
		total += i.cost(now)
		if i.Owner == added.Owner && !i.HasExpired(now) {
			owned++
		}
		if added.Caller != "" && i.Caller == added.Caller {
			callers++
			charged += i.cost(now)
		}
	}
	switch {
	case isBeyond(all, l.Invitations), isBeyond(owned, l.OwnerInvitations):
		return ErrTooManyInvitations
	case isBeyond(total, l.InvitationBytes):
		return ErrFull
	case isBeyond(callers, l.CallerInvitations), isBeyond(charged, l.CallerInvitationBytes):
		return ErrCallerFull
	}
	return nil
}

// isBeyond reports whether there is a limit, which is exceeded.
func isBeyond[N int | int64](n, limit N) bool { return limit > 0 && n > limit }

// OwnedInvitations returns the invitations of an owner, the first to expire first.
func OwnedInvitations(owner OwnerHash, there iter.Seq[*Invitation]) []*Invitation {
	var owned []*Invitation
	for i := range there {
		if i.Owner == owner {
			owned = append(owned, i)
		}
	}
	slices.SortFunc(owned, func(x, y *Invitation) int {
		return cmp.Or(x.Expires.Compare(y.Expires), bytes.Compare(x.Name[:], y.Name[:]))
	})
	return owned
}

// EncodeInvitation returns the record of an invitation, without what it seals.
func EncodeInvitation(i *Invitation) ([]byte, error) {
	record := &storepb.Invitation{Owner: i.Owner[:], Created: i.Created.UnixMilli(), Expires: i.Expires.UnixMilli(),
		Uses: uint32(i.Uses), Caller: []byte(i.Caller), Size: uint32(i.Size)} //nolint:gosec // the server bounds both
	if !i.Taken.IsZero() {
		record.Taken = i.Taken.UnixMilli()
	}
	for _, taker := range i.Takers {
		record.Takers = append(record.Takers, taker[:]...)
	}
	encoded, err := proto.Marshal(record)
	if err != nil {
		return nil, fmt.Errorf("encode an invitation: %w", err)
	}
	return encoded, nil
}

// DecodeInvitation is the inverse of EncodeInvitation.
func DecodeInvitation(name, encoded []byte) (*Invitation, error) {
	var record storepb.Invitation
	if err := proto.Unmarshal(encoded, &record); err != nil {
		return nil, fmt.Errorf("decode an invitation: %w", err)
	}
	i := &Invitation{Created: time.UnixMilli(record.GetCreated()), Expires: time.UnixMilli(record.GetExpires()),
		Uses: int(record.GetUses()), Size: int(record.GetSize()), Caller: string(record.GetCaller())}
	if record.GetTaken() != 0 {
		i.Taken = time.UnixMilli(record.GetTaken())
	}
	if len(name) != len(i.Name) || len(record.GetOwner()) != len(i.Owner) || len(record.GetTakers())%len(RequestID{}) != 0 {
		return nil, errors.New("decode an invitation: its name, owner or takers have a wrong length")
	}
	i.Name, i.Owner = InvitationName(name), OwnerHash(record.GetOwner())
	for taker := range slices.Chunk(record.GetTakers(), len(RequestID{})) {
		i.Takers = append(i.Takers, RequestID(taker))
	}
	return i, nil
}
