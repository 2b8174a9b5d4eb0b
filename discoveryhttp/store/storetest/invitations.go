package storetest

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spanmesh/span/discoveryhttp/server"
	"github.com/spanmesh/span/discoveryhttp/store"
)

// invitationBytes is about what an invitation of NewInvitation costs, in bytes.
const invitationBytes = 1000

// NewInvitation returns an invitation of one owner, for some uses, which expires an hour after Start.
func NewInvitation(name, owner byte, uses int) *store.Invitation {
	sealed := make([]byte, 600)
	sealed[0] = name
	return &store.Invitation{Name: store.InvitationName{name}, Owner: store.OwnerHash{owner}, Created: Start, Expires: In(60), Uses: uses,
		Sealed: sealed, Size: len(sealed)}
}

// Invite creates an invitation.
func Invite(t *testing.T, s server.Store, i *store.Invitation) {
	t.Helper()
	if err := s.CreateInvitation(t.Context(), i); err != nil {
		t.Fatal(err)
	}
}

// ExpectTake takes an invitation, and expects what NewInvitation has sealed, or an error that is
// like one.
func ExpectTake(t *testing.T, s server.Store, name, request byte, now time.Time, want error) {
	t.Helper()
	i, err := s.TakeInvitation(t.Context(), store.InvitationName{name}, store.RequestID{request}, now)
	if _, ended := errors.AsType[*store.EndedError](want); ended {
		got, _ := errors.AsType[*store.EndedError](err)
		if got == nil || got.Used != want.(*store.EndedError).Used { //nolint:errorlint // it is the test's
			t.Errorf("request %d for invitation %d: %v, want %v", request, name, err, want)
		}
		return
	}
	expectError(t, "a request for an invitation", err, want)
	if err == nil && (len(i.Sealed) != 600 || i.Sealed[0] != name) {
		t.Errorf("request %d for invitation %d got %d bytes", request, name, len(i.Sealed))
	}
}

var (
	used    = &store.EndedError{Used: true}
	expired = &store.EndedError{}
)

// testInvitation has a request made again, whose answer was lost, and one too many.
func testInvitation(t *testing.T, s server.Store) {
	Invite(t, s, NewInvitation(1, 1, 2))
	expectError(t, "a second of the name", s.CreateInvitation(t.Context(), NewInvitation(1, 2, 1)), store.ErrInvitationExists)
	ExpectTake(t, s, 9, 1, In(1), store.ErrNoInvitation)
	for range 2 {
		ExpectTake(t, s, 1, 1, In(1), nil)
	}
	expectUsed(t, s, 1)
	ExpectTake(t, s, 1, 2, In(2), nil)
	ExpectTake(t, s, 1, 3, In(3), used)
	ExpectTake(t, s, 1, 2, In(3), nil)
	expectUsed(t, s, 2)
}

// testInvitationCounts counts invitations, also one that is used up.
func testInvitationCounts(t *testing.T, s server.Store) {
	Invite(t, s, NewInvitation(1, 1, 1))
	Invite(t, s, NewInvitation(2, 1, 1))
	ExpectTake(t, s, 1, 1, In(1), nil)
	if got := Counts(s); got != (store.Stats{Invitations: 2}) {
		t.Errorf("the stats are %+v", got)
	}
	expectError(t, "a revocation", s.RevokeInvitation(t.Context(), store.OwnerHash{1}, store.InvitationName{1}), nil)
	if got := Counts(s); got != (store.Stats{Invitations: 1}) {
		t.Errorf("the stats are %+v", got)
	}
}

// expectUsed expects owner 1 to have one invitation, which was used so often.
func expectUsed(t *testing.T, s server.Store, uses int) {
	t.Helper()
	owned, err := s.ListInvitations(t.Context(), store.OwnerHash{1})
	if err != nil || len(owned) != 1 {
		t.Fatalf("the owner has %d invitations, %v", len(owned), err)
	}
	i := owned[0]
	if len(i.Takers) != uses || !i.Created.Equal(Start) || !i.Expires.Equal(In(60)) || !i.Taken.Equal(In(uses)) {
		t.Errorf("there is %+v, want %d uses", i, uses)
	}
}

func testInvitationExpires(t *testing.T, s server.Store) {
	Invite(t, s, NewInvitation(1, 1, 2))
	ExpectTake(t, s, 1, 1, In(59), nil)
	ExpectTake(t, s, 1, 1, In(60), expired)
	ExpectTake(t, s, 1, 2, In(60), expired)
	if err := s.Expire(In(61)); err != nil {
		t.Fatal(err)
	}
	ExpectTake(t, s, 1, 1, In(62), expired)
}

func testInvitationRevoked(t *testing.T, s server.Store) {
	Invite(t, s, NewInvitation(1, 1, 2))
	Invite(t, s, NewInvitation(2, 1, 2))
	expectError(t, "by another", s.RevokeInvitation(t.Context(), store.OwnerHash{2}, store.InvitationName{1}), store.ErrNoInvitation)
	ExpectTake(t, s, 1, 1, In(1), nil)
	expectError(t, "by its owner", s.RevokeInvitation(t.Context(), store.OwnerHash{1}, store.InvitationName{1}), nil)
	expectError(t, "once more", s.RevokeInvitation(t.Context(), store.OwnerHash{1}, store.InvitationName{1}), store.ErrNoInvitation)
	ExpectTake(t, s, 1, 1, In(1), store.ErrNoInvitation)
	ExpectTake(t, s, 2, 1, In(1), nil)
	expectUsed(t, s, 1)
}

// testInvitationAtOnce has 100 requests at once for ten uses.
func testInvitationAtOnce(t *testing.T, s server.Store) {
	Invite(t, s, NewInvitation(1, 1, 10))
	var taken, refused atomic.Int32
	var group sync.WaitGroup
	for request := range byte(100) {
		group.Go(func() {
			_, err := s.TakeInvitation(t.Context(), store.InvitationName{1}, store.RequestID{request}, In(10))
			ended, _ := errors.AsType[*store.EndedError](err)
			switch {
			case err == nil:
				taken.Add(1)
			case ended != nil && ended.Used:
				refused.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	group.Wait()
	if taken.Load() != 10 || refused.Load() != 90 {
		t.Errorf("%d requests were taken and %d refused, want 10 and 90", taken.Load(), refused.Load())
	}
	expectUsed(t, s, 10)
}

func testInvitationLimit(t *testing.T, s server.Store) {
	for name := range byte(2) {
		Invite(t, s, NewInvitation(name, 1, 1))
	}
	expectError(t, "a third of an owner", s.CreateInvitation(t.Context(), NewInvitation(3, 1, 1)), store.ErrTooManyInvitations)
	Invite(t, s, NewInvitation(4, 2, 1))
	expectError(t, "a fourth of all", s.CreateInvitation(t.Context(), NewInvitation(5, 3, 1)), store.ErrTooManyInvitations)
	expectError(t, "a revocation", s.RevokeInvitation(t.Context(), store.OwnerHash{2}, store.InvitationName{4}), nil)
	Invite(t, s, NewInvitation(5, 3, 1))
}

func testInvitationCallers(t *testing.T, s server.Store) {
	by := func(name byte, caller string, size int) error {
		i := NewInvitation(name, name, 1)
		i.Caller, i.Sealed, i.Size = caller, make([]byte, size), size
		return s.CreateInvitation(t.Context(), i)
	}
	expectError(t, "the first", by(1, "a", 10), nil)
	expectError(t, "the second", by(2, "a", 10), nil)
	expectError(t, "a third of a caller", by(3, "a", 10), store.ErrCallerFull)
	expectError(t, "too much for a caller", by(4, "b", 2*invitationBytes), store.ErrCallerFull)
	for name := byte(10); name < 13; name++ {
		expectError(t, "of another", by(name, string(name), invitationBytes+400), nil)
	}
	expectError(t, "too much for the server", by(20, "c", invitationBytes+400), store.ErrFull)
}
