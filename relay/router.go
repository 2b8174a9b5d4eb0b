package relay

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/spanmesh/span/relay/wireguard"
)

// Key is a public or private key of WireGuard.
type Key = wireguard.Key

// Source is where a packet comes from or goes to.
type Source struct {
	// Addr is the other end's address. Of a stream, it is only for budgets.
	Addr netip.AddrPort
	// Stream is a stream's number, and 0 for UDP.
	Stream uint64
}

// id is what a source is known by.
func (s Source) id() Source {
	if s.Stream != 0 {
		return Source{Stream: s.Stream}
	}
	if s.Addr.Addr().Is4In6() {
		return Source{Addr: netip.AddrPortFrom(s.Addr.Addr().Unmap(), s.Addr.Port())}
	}
	return s
}

// Packet is a packet that a front is to send.
type Packet struct {
	To   Source
	Data []byte
}

// Router decides where packets go. It is for one goroutine.
type Router struct {
	responder *wireguard.Responder
	mac       *wireguard.MAC
	cookies   *wireguard.Cookies
	limits    Limits
	counts    Counts

	// now is the time of the call, since made.
	now  instant
	made time.Time

	members  map[Key]*member
	clusters map[string]*cluster
	sessions map[uint32]*session
	// at has the ends by the ids of their sources.
	at map[Source]*end
	// ends are all ends, and swept is how far they were looked through for what is too old.
	ends  []*end
	swept int
	// joined and guests count members and ends that are no member's, by network, and allGuests the latter.
	joined, guests map[netip.Addr]int
	allGuests      int
	// named counts the machines without an agent, by the network that named them first, and allNamed
	// all.
	named    map[netip.Addr]int
	allNamed int

	// completed has until when a network without members is known to have completed a handshake with one.
	completed map[netip.Addr]instant

	handshakes, loadedHandshakes, trials, knownTrials, memberTrials meter
	handshakesOf, scansOf, strangersOf, trialsOf                    meters
	nudgesOf, checksOf                                              meters

	// table is what tells this table of flows from an earlier one.
	table [tableSize]byte

	out    [1]Packet
	answer []byte
}

// New returns a Router without members.
func New(private Key, limits Limits) (*Router, error) {
	if private == (Key{}) {
		return nil, errors.New("relay: the private key is empty")
	}
	responder, err := wireguard.NewResponder(private)
	if err != nil {
		return nil, err
	}
	return newRouter(responder, limits), nil
}

func newRouter(responder *wireguard.Responder, limits Limits) *Router {
	r := &Router{
		responder:    responder,
		mac:          wireguard.NewMAC(responder.PublicKey()),
		cookies:      wireguard.NewCookies(responder.PublicKey()),
		limits:       limits,
		members:      map[Key]*member{},
		clusters:     map[string]*cluster{},
		sessions:     map[uint32]*session{},
		at:           map[Source]*end{},
		joined:       map[netip.Addr]int{},
		guests:       map[netip.Addr]int{},
		named:        map[netip.Addr]int{},
		completed:    map[netip.Addr]instant{},
		handshakesOf: newMeters(),
		scansOf:      newMeters(),
		strangersOf:  newMeters(),
		trialsOf:     newMeters(),
		nudgesOf:     newMeters(),
		checksOf:     newMeters(),
	}
	r.renameTable()
	return r
}

// PublicKey returns the relay's public key.
func (r *Router) PublicKey() Key { return r.responder.PublicKey() }

// tick sets the time of a call.
func (r *Router) tick(now time.Time) {
	if r.made.IsZero() {
		r.made = now
	}
	// Times never go back, so that nothing that has ended comes back.
	r.now = max(r.now, now.Sub(r.made))
}

// Handle returns what is to be sent for a packet. Data is the packet, or a buffer of the router; it
// is valid until the next call.
func (r *Router) Handle(now time.Time, from Source, packet []byte) (out []Packet) {
	kind, ok := wireguard.TypeOf(packet)
	if !ok && !isCheck(packet) {
		return r.drop(Malformed)
	}
	r.tick(now)
	sender := r.at[from.id()]
	if !ok {
		return r.check(from, sender, packet)
	}
	switch kind {
	case wireguard.Data:
		return r.data(from, sender, packet)
	case wireguard.Initiation:
		return r.initiation(from, sender, packet)
	case wireguard.Response:
		return r.response(sender, packet)
	default:
		return r.cookieReply(sender, packet)
	}
}

// drop counts a packet that goes nowhere.
func (r *Router) drop(reason Reason) []Packet {
	r.counts.Dropped[reason]++
	return nil
}

// send returns a packet of the relay's own.
func (r *Router) send(to Source, data []byte) []Packet {
	r.answer = data
	r.out[0] = Packet{To: to, Data: data}
	return r.out[:]
}

// forward returns a packet of an end for another.
func (r *Router) forward(from, to *end, packet []byte) []Packet {
	if !to.located {
		return r.drop(NotAddressed)
	}
	if limit := float64(r.limits.BytesPerSecond); limit > 0 &&
		!from.bytes.take(r.now, float64(len(packet)), limit, max(limit/4, wireguard.MaxSize)) {
		return r.drop(OverRate)
	}
	r.counts.Packets++
	r.counts.Bytes += uint64(len(packet))
	r.out[0] = Packet{To: to.source, Data: packet}
	return r.out[:]
}

// nudgeKind is the fifth byte of a nudge.
const nudgeKind = 3

// nudge answers data that goes nowhere. Where no member is registered, it makes the sender's agent do a
// handshake with the relay at once.
func (r *Router) nudge(to Source, sender *end) []Packet {
	reason := UnknownSender
	if sender != nil {
		reason = UnknownReceiver
	}
	r.counts.Dropped[reason]++
	if sender != nil && sender.member != nil || !r.nudgesOf.ofSource(to).take(r.now, 1, 2, 1) {
		return nil
	}
	r.counts.Nudges++
	b := r.answer[:0]
	b = append(b, magic...)
	b = append(b, nudgeKind)
	for len(b) < wireguard.DataSize {
		b = append(b, 0)
	}
	return r.send(to, b)
}

// newIndex returns an index for a session of the relay with an end.
func (r *Router) newIndex(with *end) uint32 {
	for {
		// An index is no secret. It only must not be one that the end has in use.
		i := rand.Uint32()
		if r.sessions[i] != nil {
			continue
		}
		if with != nil {
			if _, used := with.flows[i]; used {
				continue
			}
		}
		return i
	}
}

// Registered reports whether a member is at a source.
func (r *Router) Registered(at Source) bool {
	e := r.at[at.id()]
	return e != nil && e.member != nil
}

// Counts returns what the router has done and knows.
func (r *Router) Counts() Counts {
	c := r.counts
	c.Members = len(r.members)
	for _, e := range r.ends {
		switch {
		case e.member == nil:
			c.Unregistered++
		case e.located:
			c.Registered++
		}
	}
	return c
}
