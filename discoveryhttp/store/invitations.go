package store

import (
	"context"
	"maps"
	"time"
)

// invitations are those of a Memory, whose lock guards them. Invitations are replaced, and never
// changed.
type invitations struct {
	limits Limits
	byName map[InvitationName]*Invitation
	// before are those that were changed since the last apply, as they were; nil for none.
	before map[InvitationName]*Invitation
}

func newInvitations(limits Limits) *invitations {
	return &invitations{limits: limits, byName: map[InvitationName]*Invitation{}, before: map[InvitationName]*Invitation{}}
}

// set replaces an invitation; nil removes it.
func (n *invitations) set(name InvitationName, after *Invitation) {
	if _, noted := n.before[name]; !noted {
		n.before[name] = n.byName[name]
	}
	n.restore(name, after)
}

func (n *invitations) restore(name InvitationName, i *Invitation) {
	if i == nil {
		delete(n.byName, name)
	} else {
		n.byName[name] = i
	}
}

// apply keeps what was changed, and discard undoes it.
func (n *invitations) apply() { clear(n.before) }

func (n *invitations) discard() {
	for name, i := range n.before {
		n.restore(name, i)
	}
	clear(n.before)
}

func (n *invitations) create(i *Invitation) error {
	if n.byName[i.Name] != nil {
		return ErrInvitationExists
	}
	if err := n.limits.CheckInvitation(i, maps.Values(n.byName)); err != nil {
		return err
	}
	n.set(i.Name, i)
	return nil
}

// take counts a request. It returns the invitation with what is sealed.
func (n *invitations) take(name InvitationName, request RequestID, now time.Time) (*Invitation, error) {
	i := n.byName[name]
	if i == nil {
		return nil, ErrNoInvitation
	}
	after, err := i.Take(request, now)
	if err == nil && after != i {
		n.set(name, after)
	}
	return after, err
}

func (n *invitations) revoke(owner OwnerHash, name InvitationName) error {
	if i := n.byName[name]; i == nil || i.Owner != owner {
		return ErrNoInvitation
	}
	n.set(name, nil)
	return nil
}

// expire removes what expired invitations seal, and those of which nothing is to be known any more.
func (n *invitations) expire(now time.Time) {
	for name, i := range n.byName {
		switch {
		case !now.Before(i.Forgotten()):
			n.set(name, nil)
		case i.Size > 0 && i.HasExpired(now):
			after := *i
			after.Sealed, after.Size = nil, 0
			n.set(name, &after)
		}
	}
}

// CreateInvitation implements server.Store.
func (m *Memory) CreateInvitation(_ context.Context, i *Invitation) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	defer m.invitations.apply()
	return m.invitations.create(i)
}

// TakeInvitation implements server.Store.
func (m *Memory) TakeInvitation(_ context.Context, name InvitationName, request RequestID, now time.Time) (*Invitation, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	defer m.invitations.apply()
	return m.invitations.take(name, request, now)
}

// ListInvitations implements server.Store.
func (m *Memory) ListInvitations(_ context.Context, owner OwnerHash) ([]*Invitation, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return OwnedInvitations(owner, maps.Values(m.invitations.byName)), nil
}

// RevokeInvitation implements server.Store.
func (m *Memory) RevokeInvitation(_ context.Context, owner OwnerHash, name InvitationName) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	defer m.invitations.apply()
	return m.invitations.revoke(owner, name)
}

// CreateInvitation implements server.Store.
func (b *Bolt) CreateInvitation(ctx context.Context, i *Invitation) error {
	return b.do(ctx, &operation{run: func(m *Memory) error { return m.invitations.create(i) }})
}

// TakeInvitation implements server.Store. What cannot be taken is not written.
func (b *Bolt) TakeInvitation(ctx context.Context, name InvitationName, request RequestID, now time.Time) (taken *Invitation, err error) {
	if err := b.memory.checkTake(name, request, now); err != nil {
		return nil, err
	}
	err = b.do(ctx, &operation{run: func(m *Memory) (err error) {
		taken, err = m.invitations.take(name, request, now)
		return err
	}})
	return taken, err
}

// checkTake returns the error of a take.
func (m *Memory) checkTake(name InvitationName, request RequestID, now time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := m.invitations.byName[name]
	if i == nil {
		return ErrNoInvitation
	}
	_, err := i.Take(request, now)
	return err
}

// ListInvitations implements server.Store.
func (b *Bolt) ListInvitations(ctx context.Context, owner OwnerHash) ([]*Invitation, error) {
	return b.memory.ListInvitations(ctx, owner)
}

// RevokeInvitation implements server.Store.
func (b *Bolt) RevokeInvitation(ctx context.Context, owner OwnerHash, name InvitationName) error {
	return b.do(ctx, &operation{run: func(m *Memory) error { return m.invitations.revoke(owner, name) }})
}
