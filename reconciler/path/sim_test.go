package path_test

import (
	"bytes"
	"container/heap"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/spanmesh/span/reconciler/mesh"
	"github.com/spanmesh/span/reconciler/path"
)

const (
	listenPort = 51820
	// coreHops are the routers between two networks that are attached to the internet.
	coreHops = 5
	latency  = 20 * time.Millisecond
)

var epoch = time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)

// network has machines and boxes that reach each other by address, and a gateway for the rest.
type network struct {
	hops    int
	devices map[netip.Addr]any // *host or *box
	gateway *box
}

func newNetwork(hops int, gateway *box) *network {
	return &network{hops: hops, devices: map[netip.Addr]any{}, gateway: gateway}
}

// box connects a network to an outer one.
type box struct {
	nat
	inner, outerNet *network
}

// packet is a packet on its way. Genuine is set where nobody has changed it.
type packet struct {
	src, dst netip.AddrPort
	ttl      int
	data     []byte
	genuine  bool
}

// event is something that happens at a time, in order.
type event struct {
	at    time.Time
	order int
	do    func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at.Before(e[j].at) || e[i].at.Equal(e[j].at) && e[i].order < e[j].order
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

// world is machines, boxes and the internet between them, in virtual time.
type world struct {
	t        testing.TB
	now      time.Time
	events   events
	order    int
	rng      *rand.Rand
	internet *network
	hosts    []*host
	// loss, copies and jitter are of packets that cross the internet.
	loss, copies float64
	jitter       time.Duration
	// cut loses all that crosses the internet.
	cut bool
	// sent is called for each packet of a machine.
	sent func(h *host, s path.Send)
	// wire has packets that crossed the internet, if it is recorded.
	record bool
	wire   []packet
}

func newWorld(t testing.TB, seed uint64) *world {
	return &world{t: t, now: epoch, rng: rand.New(rand.NewPCG(seed, 1)), internet: newNetwork(coreHops, nil)}
}

func (w *world) at(delay time.Duration, do func()) {
	w.order++
	heap.Push(&w.events, event{w.now.Add(delay), w.order, do})
}

// behind puts a box of a kind in front of a new network.
func (w *world) behind(outside *network, k kind, outer string) *box {
	b := &box{nat: nat{kind: k, rng: w.rng}, outerNet: outside}
	b.inner = newNetwork(0, b)
	if outer != "" {
		b.outer = netip.MustParseAddr(outer)
		outside.devices[b.outer] = b
	}
	return b
}

// route has a packet arrive in a network.
func (w *world) route(n *network, p packet) {
	device, known := n.devices[p.dst.Addr()]
	if !known {
		if n.gateway != nil {
			w.leave(n.gateway, p)
		}
		return
	}
	if p.ttl -= n.hops; p.ttl <= 0 {
		return
	}
	if n.hops == 0 {
		w.enter(device, p)
		return
	}
	if w.record && p.genuine {
		w.wire = append(w.wire, p)
	}
	w.cross(device, p)
	if w.rng.Float64() < w.copies {
		w.cross(device, p)
	}
}

func (w *world) cross(device any, p packet) {
	if w.cut || w.rng.Float64() < w.loss {
		return
	}
	delay := latency
	if w.jitter > 0 {
		delay += time.Duration(w.rng.Int64N(int64(w.jitter)))
	}
	w.at(delay, func() { w.enter(device, p) })
}

// leave has a packet go out through a box.
func (w *world) leave(b *box, p packet) {
	if p.ttl--; p.ttl <= 0 {
		return
	}
	src, ok := b.out(w.now, p.src, p.dst)
	if !ok {
		return
	}
	p.src = src
	if p.dst.Addr() == b.outer {
		if b.hairpin {
			w.enter(b, p)
		}
		return
	}
	w.route(b.outerNet, p)
}

// enter has a packet reach a machine, or go in through a box.
func (w *world) enter(device any, p packet) {
	switch d := device.(type) {
	case *host:
		w.at(time.Millisecond, func() { d.hear(p) })
	case *box:
		if p.ttl--; p.ttl <= 0 {
			return
		}
		if dst, ok := d.in(w.now, p.src, p.dst); ok {
			p.dst = dst
			w.route(d.inner, p)
		}
	}
}

// run lets time pass.
func (w *world) run(d time.Duration) { w.until(d, func() bool { return false }) }

// until lets time pass until something is so, and returns how long it took; -1 if it never was.
func (w *world) until(d time.Duration, done func() bool) time.Duration {
	start, end := w.now, w.now.Add(d)
	for {
		for _, h := range w.hosts {
			h.check()
		}
		if done() {
			return w.now.Sub(start)
		}
		next := end
		if len(w.events) > 0 && w.events[0].at.Before(next) {
			next = w.events[0].at
		}
		for _, h := range w.hosts {
			if !h.next.IsZero() && h.next.Before(next) {
				next = h.next
			}
		}
		if !next.Before(end) {
			w.now = end
			return -1
		}
		w.now = later(w.now, next)
		if len(w.events) > 0 && !w.events[0].at.After(w.now) {
			heap.Pop(&w.events).(event).do()
			continue
		}
		for _, h := range w.hosts {
			if !h.next.IsZero() && !h.next.After(w.now) {
				h.step()
			}
		}
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// host is a machine with a Prober.
type host struct {
	w         *world
	net       *network
	addresses []netip.Addr
	prober    *path.Prober
	self      path.Self
	peers     []path.Peer
	next      time.Time
	ids       uint64
	// clock is how far the machine's clock is ahead.
	clock time.Duration
	// pings are those sent, and fresh the last time that one to an endpoint was answered in time: what
	// the test itself has seen.
	pings map[path.ID]ping
	fresh map[netip.AddrPort]time.Time
}

type ping struct {
	to netip.AddrPort
	at time.Time
}

// add adds a machine to a network. Boxes that change no addresses are passed by on the way to it.
func (w *world) add(n *network, addresses ...string) *host {
	h := &host{w: w, pings: map[path.ID]ping{}, fresh: map[netip.AddrPort]time.Time{}}
	h.attach(n, addresses...)
	w.hosts = append(w.hosts, h)
	raw := bytes.Repeat([]byte{byte(len(w.hosts))}, mesh.KeySize)
	private, err := mesh.NewPrivateKey(bytes.NewReader(raw))
	if err != nil {
		w.t.Fatal(err)
	}
	h.self = path.Self{Private: private, Public: private.Public()}
	h.start()
	return h
}

// attach gives the machine addresses in a network.
func (h *host) attach(n *network, addresses ...string) {
	h.net = n
	for _, a := range addresses {
		address := netip.MustParseAddr(a)
		h.addresses = append(h.addresses, address)
		n.devices[address] = h
		for ; n.gateway != nil && (address.Is6() || !n.gateway.outer.IsValid()); n = n.gateway.outerNet {
			n.gateway.outerNet.devices[address] = n.gateway
		}
		n = h.net
	}
}

// move takes the machine to another network.
func (h *host) move(n *network, addresses ...string) {
	for _, a := range h.addresses {
		for n := h.net; n.devices[a] != nil; n = n.gateway.outerNet {
			if delete(n.devices, a); n.gateway == nil {
				break
			}
		}
	}
	h.addresses = nil
	h.attach(n, addresses...)
	h.self.Network++
}

// start starts the machine's agent, anew if it ran before.
func (h *host) start() {
	clear(h.pings)
	clear(h.fresh)
	first := h.ids
	h.ids += 1 << 32
	h.prober = &path.Prober{NewID: func() (id path.ID) {
		first++
		binary.BigEndian.PutUint64(id[:], first)
		id[11] = h.self.Public[0]
		return id
	}}
	h.step()
}

// source returns the address that packets to another one come from.
func (h *host) source(to netip.Addr) (netip.Addr, bool) {
	i := slices.IndexFunc(h.addresses, func(a netip.Addr) bool { return a.Is4() == to.Is4() })
	if i < 0 {
		return netip.Addr{}, false
	}
	return h.addresses[i], true
}

// now is the time by the machine's clock.
func (h *host) now() time.Time { return h.w.now.Add(h.clock) }

func (h *host) step() {
	send, next := h.prober.Step(h.now(), h.self, h.peers)
	if h.next = next; !next.IsZero() {
		h.next = next.Add(-h.clock)
	}
	h.send(send)
}

func (h *host) hear(p packet) {
	kind, id := p.data[4], path.ID(p.data[16:])
	if sent, known := h.pings[id]; known && p.genuine && kind == 2 && sent.to == p.src && h.w.now.Sub(sent.at) <= 5*time.Second {
		delete(h.pings, id)
		h.fresh[p.src] = h.w.now
	}
	answers := h.prober.Heard(h.now(), p.src, p.data)
	if len(answers) > 2 {
		h.w.t.Errorf("%d answers to one packet", len(answers))
	}
	h.send(answers)
	h.step()
}

func (h *host) send(all []path.Send) {
	for _, s := range all {
		if len(s.Payload) != path.Size {
			h.w.t.Errorf("a packet of %d bytes", len(s.Payload))
		}
		if h.w.sent != nil {
			h.w.sent(h, s)
		}
		if s.Payload[4] == 1 {
			h.pings[path.ID(s.Payload[16:])] = ping{s.To, h.w.now}
		}
		source, ok := h.source(s.To.Addr())
		if !ok {
			continue
		}
		ttl := s.TTL
		if ttl == 0 {
			ttl = 64
		}
		h.w.route(h.net, packet{netip.AddrPortFrom(source, listenPort), s.To, ttl, s.Payload, true})
	}
}

// check holds at all times: a path has answered a fresh ping in the last 40 seconds.
func (h *host) check() {
	for _, p := range h.prober.Proven() {
		if answered, ever := h.fresh[p.Endpoint]; !ever {
			h.w.t.Fatalf("%v: %v is a path, and has never answered", h.w.now.Sub(epoch), p.Endpoint)
		} else if age := h.w.now.Sub(answered); age > 40*time.Second+latency {
			h.w.t.Fatalf("%v: %v is a path, and has not answered for %v", h.w.now.Sub(epoch), p.Endpoint, age)
		}
	}
}

// path returns the endpoint of the path to another machine; invalid for none.
func (h *host) path(other *host) netip.AddrPort {
	for _, p := range h.prober.Proven() {
		if p.Peer == other.self.Public {
			return p.Endpoint
		}
	}
	return netip.AddrPort{}
}

// servers are those that machines ask how they are seen.
var servers = []netip.AddrPort{netip.MustParseAddrPort("198.51.100.1:3478"), netip.MustParseAddrPort("198.51.100.2:3478")}

// seen returns how a server sees the machine; invalid if no packet reaches it.
func (h *host) seen(server netip.AddrPort) netip.AddrPort {
	source, ok := h.source(server.Addr())
	src := netip.AddrPortFrom(source, listenPort)
	for n := h.net; ok && n.gateway != nil; n = n.gateway.outerNet {
		src, ok = n.gateway.out(h.w.now, src, server)
	}
	if !ok {
		return netip.AddrPort{}
	}
	return src
}

// ask has the machine learn its NAT, and returns what it publishes.
func (h *host) ask() (published []netip.AddrPort) {
	for _, a := range h.addresses {
		published = append(published, netip.AddrPortFrom(a, listenPort))
	}
	h.self.NAT = mesh.NATUnknown
	one, other := h.seen(servers[0]), h.seen(servers[1])
	switch {
	case !one.IsValid():
	case one == published[0]:
		h.self.NAT = mesh.NATNone
	case one == other:
		h.self.NAT = mesh.NATIndependent
		published = append(published, one)
	default:
		h.self.NAT = mesh.NATDependent
	}
	if one.IsValid() && one.Addr() != h.addresses[0] {
		// A server sees the address; that the port is that of the machine is a guess.
		published = append(published, netip.AddrPortFrom(one.Addr(), listenPort))
	}
	h.self.Endpoints = slices.Clone(published[:len(h.addresses)])
	h.step()
	return published
}

// learn has the machine hear what another one has published.
func (h *host) learn(other *host, published []netip.AddrPort) {
	peer := path.Peer{Key: other.self.Public, Endpoints: published, NAT: other.self.NAT}
	h.peers = append(slices.DeleteFunc(slices.Clone(h.peers), func(p path.Peer) bool { return p.Key == peer.Key }), peer)
	h.step()
}

// meet has two machines ask servers, and hear of each other by discovery a moment later, the second one
// after the first.
func meet(a, b *host, skew time.Duration) {
	publishedA, publishedB := a.ask(), b.ask()
	a.w.at(50*time.Millisecond, func() { a.learn(b, publishedB) })
	a.w.at(50*time.Millisecond+skew, func() { b.learn(a, publishedA) })
}

// connected reports whether both have a path to each other.
func connected(a, b *host) func() bool {
	return func() bool { return a.path(b).IsValid() && b.path(a).IsValid() }
}
