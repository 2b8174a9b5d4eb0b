package wgdevice

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/state"
)

const (
	// MaxPeers is how many peers a device may have: twice as many as wireguard-go takes.
	MaxPeers = 1 << 17
	// maxRaw is how many bytes the endpoints and networks of all peers may have.
	maxRaw = 64 << 20
)

// Format parses the bytes of a reader. They are not empty.
type Format struct {
	Endpoint func(raw []byte) (netip.AddrPort, error)
	Networks func(raw []byte) ([]netip.Prefix, error)
}

// Device is a WireGuard device as it was read last. Its zero value is ready for use. It is for one
// goroutine.
type Device struct {
	PrivateKey   mesh.PrivateKey
	ListenPort   int
	FirewallMark uint32

	format Format
	// peers are sorted by key after End. Those of this reading that are new are at the end before.
	peers   []state.Peer
	sources []source
	// at has the places of peers by their keys.
	at map[mesh.Key]int
	// current is the place of the peer that is being read.
	current int
	// round counts the readings, count the peers of this one, and raw its bytes.
	round      uint64
	count, raw int
	// reordered is set when this reading has added or removed a peer.
	reordered bool
	// whole is set when the last reading has ended without an error. Nothing of another is kept.
	whole  bool
	buffer []byte
}

// source is what a peer was made of.
type source struct {
	// round is the last reading with the peer.
	round              uint64
	endpoint, networks memo
}

// Buffer returns bytes for a reader to receive into, as many in each reading.
func (d *Device) Buffer(size int) []byte {
	if len(d.buffer) != size {
		d.buffer = make([]byte, size)
	}
	return d.buffer
}

// Begin starts a reading, and makes the settings of the device zero.
func (d *Device) Begin(f Format) {
	if !d.whole {
		d.peers, d.sources, d.at = nil, nil, map[mesh.Key]int{}
	}
	d.format, d.whole = f, false
	d.PrivateKey, d.ListenPort, d.FirewallMark = mesh.PrivateKey{}, 0, 0
	d.round++
	d.count, d.raw, d.reordered = 0, 0, false
}

// Peer starts to read a peer, or more of it, and reports whether the reading has had it before. The
// peer is to be filled in, but for what Endpoint and Networks set. It holds until the next call.
func (d *Device) Peer(key mesh.Key) (p *state.Peer, again bool, err error) {
	i, known := d.at[key]
	if known && d.sources[i].round == d.round {
		d.current = i
		return &d.peers[i], true, nil
	}
	if d.count++; d.count > MaxPeers {
		return nil, false, fmt.Errorf("more than %d peers", MaxPeers)
	}
	if !known {
		i = len(d.peers)
		d.peers, d.sources = append(d.peers, state.Peer{}), append(d.sources, source{})
		d.at[key], d.reordered = i, true
	}
	d.current = i
	p = &d.peers[i]
	*p = state.Peer{PublicKey: key, Endpoint: p.Endpoint, AllowedIPs: p.AllowedIPs}
	s := &d.sources[i]
	s.round = d.round
	s.endpoint.begin()
	s.networks.begin()
	return p, false, nil
}

// Endpoint sets the endpoint of the current peer. A later call replaces it.
func (d *Device) Endpoint(raw []byte) error {
	d.sources[d.current].endpoint.begin()
	d.sources[d.current].endpoint.add(raw)
	return d.grow(len(raw))
}

// Networks adds to the bytes of the networks of the current peer.
func (d *Device) Networks(raw []byte) error {
	d.sources[d.current].networks.add(raw)
	return d.grow(len(raw))
}

func (d *Device) grow(n int) error {
	if d.raw += n; d.raw > maxRaw {
		return fmt.Errorf("more than %d MiB of endpoints and networks", maxRaw>>20)
	}
	return nil
}

// End ends a reading that is whole. There are no peers after an error, or without End.
func (d *Device) End() error {
	d.reordered = d.reordered || d.count != len(d.peers)
	for i := range d.peers {
		if d.sources[i].round != d.round {
			continue
		}
		if err := d.parse(&d.peers[i], &d.sources[i]); err != nil {
			return fmt.Errorf("peer %s: %w", d.peers[i].PublicKey, err)
		}
	}
	if d.reordered {
		d.reorder()
	}
	d.whole = true
	return nil
}

// parse makes the endpoint and the networks of a peer anew, if their bytes have changed.
func (d *Device) parse(p *state.Peer, s *source) (err error) {
	if s.endpoint.end() {
		p.Endpoint = netip.AddrPort{}
		if len(s.endpoint.raw) > 0 {
			if p.Endpoint, err = d.format.Endpoint(s.endpoint.raw); err != nil {
				return err
			}
		}
		s.endpoint.stale = false
	}
	if s.networks.end() {
		p.AllowedIPs = nil // the old list may be in use, and is not changed
		if len(s.networks.raw) > 0 {
			if p.AllowedIPs, err = d.format.Networks(s.networks.raw); err != nil {
				return err
			}
		}
		one := state.State{Peers: []state.Peer{*p}}
		one.Normalize()
		p.AllowedIPs = slices.Clip(one.Peers[0].AllowedIPs)
		s.networks.stale = false
	}
	return nil
}

// reorder removes the peers that are gone and sorts the others. It makes new lists, as the old ones
// may be in use.
func (d *Device) reorder() {
	order := make([]int, 0, d.count)
	for i := range d.sources {
		if d.sources[i].round == d.round {
			order = append(order, i)
		}
	}
	slices.SortFunc(order, func(a, b int) int { return d.peers[a].PublicKey.Compare(d.peers[b].PublicKey) })
	peers, sources := make([]state.Peer, len(order)), make([]source, len(order))
	clear(d.at)
	for i, old := range order {
		peers[i], sources[i] = d.peers[old], d.sources[old]
		d.at[peers[i].PublicKey] = i
	}
	d.peers, d.sources = peers, sources
}

// Peers returns the peers of the last reading, sorted by key, in canonical form (state.Normalize).
// They hold until the next reading, which writes into the same list. The networks of a peer are
// never changed.
func (d *Device) Peers() []state.Peer {
	if !d.whole {
		return nil
	}
	return slices.Clip(d.peers)
}
