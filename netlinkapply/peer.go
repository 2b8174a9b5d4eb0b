package netlinkapply

import (
	"errors"
	"iter"
	"slices"

	"github.com/spanmesh/span/netlinkapply/userspace"
	"github.com/spanmesh/span/reconciler/state"
)

// changePeers creates, updates and deletes peers together. It never replaces the list of peers,
// which would end every session.
func (k *Kernel) changePeers(link string, changes state.Plan) error {
	for _, c := range changes {
		if c, is := c.(state.PeerChange); is && c.Old.PublicKey.IsZero() && c.New.PublicKey.IsZero() {
			// WireGuard would accept it.
			return errors.New("peer without a public key")
		}
	}
	if l, err := k.handle.LinkByName(link); err == nil && l.Type() == kindTUN {
		return k.explainUnresponsive(userspace.ConfigurePeers(link, settings(changes)))
	}
	return configurePeers(link, slices.Collect(settings(changes)))
}

// settings returns the settings of the peers that change.
//
// Peers whose keepalive is turned on come last: wireguard-go sends a keepalive, and thus a
// handshake, to every peer that follows one of them in the same request. Peers without a
// keepalive must not begin a handshake.
func settings(changes state.Plan) iter.Seq[userspace.PeerSetting] {
	return func(yield func(userspace.PeerSetting) bool) {
		var last []userspace.PeerSetting
		for _, change := range changes {
			c, is := change.(state.PeerChange)
			if !is {
				continue
			}
			restart, p := settingsOf(c)
			if restart && !yield(userspace.PeerSetting{PublicKey: p.PublicKey, UpdateOnly: true, HasKeepalive: true}) {
				return
			}
			if p.Keepalive > 0 {
				last = append(last, p)
			} else if !yield(p) {
				return
			}
		}
		for _, p := range last {
			if !yield(p) {
				return
			}
		}
	}
}

// settingsOf returns the settings of a change, and whether the keepalive must be turned off
// first. WireGuard tries a new endpoint only when it has something to send, which may be a
// whole keepalive interval later. It sends at once when the keepalive is turned on, so it is
// turned off and on again.
func settingsOf(c state.PeerChange) (restart bool, p userspace.PeerSetting) {
	action, peer := c.Action(), c.New
	if action == state.Delete {
		p.PublicKey, p.Remove, p.UpdateOnly = c.Old.PublicKey, true, true
		return false, p
	}
	p.PublicKey = peer.PublicKey
	p.UpdateOnly = action == state.Update
	if c.NewPresharedKey() {
		p.PresharedKey, p.HasPresharedKey = peer.PresharedKey.Bytes(), true
	}
	if c.NewKeepalive() {
		p.Keepalive, p.HasKeepalive = uint16(peer.Keepalive.Seconds()), true
	}
	if c.NewAllowedIPs() {
		p.ReplaceAllowedIPs, p.AllowedIPs = true, peer.AllowedIPs
	}
	if !c.NewEndpoint() {
		return false, p
	}
	p.Endpoint = peer.Endpoint
	if action == state.Create || peer.Keepalive == 0 {
		return false, p
	}
	p.Keepalive, p.HasKeepalive = uint16(peer.Keepalive.Seconds()), true
	return true, p
}
