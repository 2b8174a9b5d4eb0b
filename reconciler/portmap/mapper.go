package portmap

import (
	"errors"
	"net/netip"
	"time"

	"github.com/spanmesh/span/reconciler/retry"
)

const (
	// lifetime is for how long mappings are asked for: short enough that one of a machine that is gone
	// ends soon.
	lifetime = time.Hour
	// minLifetime and maxLifetime bound what a gateway's lifetime is taken for.
	minLifetime, maxLifetime = 2 * renewRetry, 24 * time.Hour
	// checkInterval is how often the gateway is asked whether it still has the mapping.
	checkInterval = 2 * time.Minute
	// renewRetry is the shortest pause after a renewal without success.
	renewRetry = 15 * time.Second
	// firstRetry and lastRetry are the first and the longest pause after no protocol gave a mapping.
	firstRetry, lastRetry = time.Minute, time.Hour
)

// Want is the mapping that is wanted. The zero value is none.
type Want struct {
	// Port is WireGuard's; 0 for no mapping.
	Port uint16
	// Gateway is the default gateway's address, and Own the machine's towards it; invalid without one.
	Gateway, Own netip.Addr
	// Network differs after each change of the machine's network.
	Network int
	// UPnP lets a gateway of IPv4 be asked by it.
	UPnP bool
}

func (w Want) isNone() bool { return w.Port == 0 || !w.Gateway.IsValid() || !w.Own.IsValid() }

// protocols returns those by which the gateway is asked, in this order.
func (w Want) protocols() []Protocol {
	switch {
	case w.Own.Is6():
		return []Protocol{PCP}
	case w.UPnP:
		return []Protocol{PCP, NATPMP, UPnP}
	default:
		return []Protocol{PCP, NATPMP}
	}
}

// Held is a mapping that a gateway has made. It outlives a restart of the agent.
type Held struct {
	Protocol Protocol       `json:"protocol"`
	Gateway  netip.Addr     `json:"gateway"`
	Own      netip.Addr     `json:"own"`
	Port     uint16         `json:"port"`
	External netip.AddrPort `json:"external"`
	// Until is when it ends; zero for never.
	Until time.Time `json:"until,omitzero"`
}

func (h *Held) isOf(w Want) bool {
	return h.Port == w.Port && h.Gateway == w.Gateway && h.Own == w.Own && (h.Protocol != UPnP || w.UPnP)
}

// Fault is why a protocol gave no mapping.
type Fault struct {
	Protocol Protocol
	Err      error
}

// Mapper keeps the mapping that is wanted.
type Mapper struct {
	// Nonce is that of all calls. It outlives a restart of the agent.
	Nonce Nonce

	want Want
	// held is nil without a mapping.
	held *Held
	// renew and check are when these are due.
	renew, check time.Time
	epoch        epoch
	// busy is set while a call is under way.
	busy bool
	// next is the index of the protocol that is tried next, after failed of those before in this round.
	// Faults are those of the last whole round.
	next           int
	failed, faults []Fault
	// rounds is how many times in a row all were tried in vain; again is when the next round is due.
	rounds int
	again  time.Time
}

// Restore takes a mapping of before a restart, which is renewed at once.
func (m *Mapper) Restore(now time.Time, held Held) {
	if !held.Until.IsZero() && !now.Before(held.Until) {
		return
	}
	m.held, m.want = &held, Want{Port: held.Port, Gateway: held.Gateway, Own: held.Own, UPnP: held.Protocol == UPnP}
	m.renew, m.check = now, now
}

// Held returns the mapping; nil for none. It is not to be changed.
func (m *Mapper) Held() *Held { return m.held }

// Faults returns why there is no mapping, for each protocol, in order, once all were tried, and the
// gateway that was asked. They stay until there is one, or another is wanted. The list is not to be
// changed.
func (m *Mapper) Faults() (gateway netip.Addr, faults []Fault) { return m.want.Gateway, m.faults }

// Step returns the call that is due, if any, and when the next step is due; zero for not before the
// call is Done, or something else is wanted.
func (m *Mapper) Step(now time.Time, want Want) (call *Call, next time.Time) {
	m.ask(now, want)
	if m.busy {
		return nil, time.Time{}
	}
	if m.held != nil && !m.held.isOf(want) {
		return m.begin(Release, m.held.Protocol), time.Time{}
	}
	if m.held != nil && !m.held.Until.IsZero() && !now.Before(m.held.Until) {
		m.forget(now)
	}
	if m.held == nil {
		return m.first(now, want)
	}
	switch {
	case want.isNone():
		return nil, time.Time{}
	case !now.Before(m.renew):
		return m.begin(Map, m.held.Protocol), time.Time{}
	case !now.Before(m.check):
		return m.begin(Check, m.held.Protocol), time.Time{}
	case m.check.Before(m.renew):
		return nil, m.check
	default:
		return nil, m.renew
	}
}

// first is Step without a mapping.
func (m *Mapper) first(now time.Time, want Want) (call *Call, next time.Time) {
	switch {
	case want.isNone():
		return nil, time.Time{}
	case now.Before(m.again):
		return nil, m.again
	}
	return m.begin(Map, want.protocols()[m.next]), time.Time{}
}

// ask begins anew if something else is wanted. A mapping of a gateway that is no longer there, or not
// there for now, is forgotten: it cannot be released.
func (m *Mapper) ask(now time.Time, want Want) {
	if m.want == want {
		return
	}
	moved := m.want.Gateway != want.Gateway || m.want.Own != want.Own
	m.want, m.next, m.failed, m.faults, m.rounds, m.again = want, 0, nil, nil, 0, time.Time{}
	switch {
	case m.held == nil:
	case moved && want.Port != 0:
		m.held = nil
	default:
		m.renew = now
	}
}

// begin returns a call.
func (m *Mapper) begin(kind Kind, protocol Protocol) *Call {
	m.busy = true
	call := &Call{Kind: kind, Protocol: protocol, Gateway: m.want.Gateway, Own: m.want.Own, Port: m.want.Port,
		External: netip.AddrPortFrom(netip.Addr{}, m.want.Port), Lifetime: lifetime, Nonce: m.Nonce}
	if h := m.held; h != nil {
		call.Gateway, call.Own, call.Port, call.External = h.Gateway, h.Own, h.Port, h.External
	}
	return call
}

// Done takes the end of a call.
func (m *Mapper) Done(now time.Time, call Call, answer Answer, err error) {
	m.busy = false
	switch call.Kind {
	case Release:
		m.held = nil
	case Check:
		m.checked(now, answer, err)
	default:
		m.mapped(now, call, answer, err)
	}
}

// checked takes the end of a check. What only did not answer may have lost packets: the renewal decides.
func (m *Mapper) checked(now time.Time, answer Answer, err error) {
	m.check = now.Add(checkInterval)
	lost := errors.Is(err, ErrForgotten) || err == nil && !m.epoch.follows(now, answer.Epoch)
	switch {
	case m.held == nil:
	case lost, err == nil && answer.External.IsValid() && answer.External != m.held.External:
		m.renew = now
	}
}

// mapped takes the end of a try to make or renew a mapping.
func (m *Mapper) mapped(now time.Time, call Call, answer Answer, err error) {
	h := Held{Protocol: call.Protocol, Gateway: call.Gateway, Own: call.Own, Port: call.Port, External: answer.External}
	if err != nil {
		if m.held != nil || call.Gateway == m.want.Gateway && call.Port == m.want.Port {
			m.refused(now, call.Protocol, err)
		}
		return
	}
	m.renew = now.Add(lifetime / 2)
	if answer.Lifetime > 0 {
		keeps := min(max(answer.Lifetime, minLifetime), maxLifetime)
		h.Until, m.renew = now.Add(keeps), now.Add(keeps/2)
	}
	m.held, m.next, m.failed, m.faults, m.rounds, m.again = &h, 0, nil, nil, 0, time.Time{}
	m.check, m.epoch = now.Add(checkInterval), epoch{}
	_ = m.epoch.follows(now, answer.Epoch) // the first of its epoch
}

// refused takes a failed try. A mapping that could not be renewed is tried again until it ends: halfway
// each time (RFC 6887, section 11.2.1).
func (m *Mapper) refused(now time.Time, protocol Protocol, err error) {
	if m.held == nil {
		m.failed = append(m.failed, Fault{protocol, err})
		if m.next++; m.next == len(m.want.protocols()) {
			m.next, m.failed, m.faults = 0, nil, m.failed
			m.rounds++
			m.again = now.Add(retry.Pause(m.rounds, firstRetry, lastRetry))
		}
		return
	}
	if !errors.Is(err, ErrNoAnswer) || m.held.Until.IsZero() {
		m.forget(now)
		return
	}
	m.renew = now.Add(max(m.held.Until.Sub(now)/2, renewRetry))
	if m.renew.After(m.held.Until) {
		m.renew = m.held.Until
	}
	m.check = now.Add(checkInterval)
}

// forget drops a mapping that the gateway has not any more, and tries all protocols.
func (m *Mapper) forget(now time.Time) {
	m.held, m.next, m.failed, m.faults, m.again = nil, 0, nil, nil, now
}
