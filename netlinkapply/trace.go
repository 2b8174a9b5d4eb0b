package netlinkapply

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	genericnetlink "github.com/mdlayher/netlink"
	"go4.org/netipx"
	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/reconciler/state"
)

// refusals are the errors of a packet that a rule or a route refuses. EINVAL is that of a
// blackhole, and of a question that makes no sense.
var refusals = []error{unix.EACCES, unix.EHOSTUNREACH, unix.ENETUNREACH}

// Trace asks the kernel where packets go. Nothing is sent. A way is zero if the kernel does not
// say.
func (k *Kernel) Trace(paths []state.Path) []state.Way {
	ways := make([]state.Way, len(paths))
	// The library cannot ask for a protocol or a port.
	conn, err := genericnetlink.Dial(unix.NETLINK_ROUTE, nil)
	if err != nil {
		return ways
	}
	defer func() { _ = conn.Close() }()
	names := map[int]string{}
	for i, p := range paths {
		q := k.question(p)
		if q.link < 0 {
			continue
		}
		answer, err := q.ask(conn)
		if err != nil {
			// Packets of others are refused for further reasons, such as their source.
			ways[i].Refused = q.link == 0 && slices.ContainsFunc(refusals, func(refusal error) bool { return errors.Is(err, refusal) })
			continue
		}
		ways[i] = k.way(answer, names)
	}
	return ways
}

// way returns the kernel's answer. Names are those of links by index, so that each is read once.
func (k *Kernel) way(a answer, names map[int]string) state.Way {
	if a.kind == unix.RTN_BLACKHOLE || a.kind == unix.RTN_UNREACHABLE || a.kind == unix.RTN_PROHIBIT {
		return state.Way{Refused: true, Table: a.table}
	}
	if _, known := names[a.link]; !known {
		link, err := k.handle.LinkByIndex(a.link)
		if err != nil {
			return state.Way{}
		}
		names[a.link] = link.Attrs().Name
	}
	return state.Way{Link: names[a.link], Table: a.table}
}

// question is a path in the kernel's terms (RTM_GETROUTE, rtnetlink(7)).
type question struct {
	state.Path
	// from is the source; invalid if the machine chooses it.
	from netip.Addr
	// link is the index of the link that the packet comes from; 0 for this machine's own, -1 for
	// one that is not there.
	link int
}

// question returns what to ask about a path.
func (k *Kernel) question(p state.Path) question {
	q := question{Path: p, from: p.From}
	if p.InLink != "" {
		q.link = -1
		if link, err := k.handle.LinkByName(p.InLink); err == nil {
			q.link = link.Attrs().Index
		}
		if !q.from.IsValid() {
			q.from = k.neighbour(p.InLink, state.FamilyOf(p.To))
		}
	} else if q.from.IsValid() {
		q.link = k.comesFrom(q.from)
	}
	return q
}

// answer is a route.
type answer struct {
	kind  uint8
	table int
	link  int
}

// Offsets in the header of a message about a route (struct rtmsg, rtnetlink.h).
const (
	routeTableOffset = 4
	routeKindOffset  = 7
	routeFlagsOffset = 8
)

// ask sends the question.
func (q *question) ask(conn *genericnetlink.Conn) (answer, error) {
	bits := uint8(q.To.BitLen())
	header := make([]byte, unix.SizeofRtMsg)
	header[0], header[1], header[3] = uint8(family(state.FamilyOf(q.To))), bits, q.TOS
	if q.from.IsValid() {
		header[2] = bits
	}
	binary.NativeEndian.PutUint32(header[routeFlagsOffset:], unix.RTM_F_LOOKUP_TABLE)
	e := genericnetlink.NewAttributeEncoder()
	e.Bytes(unix.RTA_DST, q.To.AsSlice())
	if q.from.IsValid() {
		e.Bytes(unix.RTA_SRC, q.from.AsSlice())
	}
	if q.link != 0 {
		e.Uint32(unix.RTA_IIF, uint32(q.link))
	}
	if q.Mark != 0 {
		e.Uint32(unix.RTA_MARK, q.Mark)
	}
	if q.AsUser {
		e.Uint32(unix.RTA_UID, q.User)
	}
	if q.Protocol != 0 {
		e.Uint8(unix.RTA_IP_PROTO, q.Protocol)
		e.Bytes(unix.RTA_SPORT, binary.BigEndian.AppendUint16(nil, q.Source))
		e.Bytes(unix.RTA_DPORT, binary.BigEndian.AppendUint16(nil, q.Destination))
	}
	attributes, err := e.Encode()
	if err != nil {
		return answer{}, err
	}
	replies, err := conn.Execute(genericnetlink.Message{
		Header: genericnetlink.Header{Type: unix.RTM_GETROUTE, Flags: genericnetlink.Request}, Data: append(header, attributes...)})
	if err != nil {
		return answer{}, err
	}
	if len(replies) == 0 {
		return answer{}, errors.New("the kernel has not answered")
	}
	return readAnswer(replies[0].Data)
}

func readAnswer(data []byte) (answer, error) {
	if len(data) < unix.SizeofRtMsg {
		return answer{}, fmt.Errorf("a route of %d bytes", len(data))
	}
	a := answer{kind: data[routeKindOffset], table: int(data[routeTableOffset])}
	d, err := genericnetlink.NewAttributeDecoder(data[unix.SizeofRtMsg:])
	if err != nil {
		return answer{}, err
	}
	for d.Next() {
		switch d.Type() {
		case unix.RTA_TABLE:
			a.table = int(d.Uint32())
		case unix.RTA_OIF:
			a.link = int(d.Uint32())
		}
	}
	return a, d.Err()
}

// neighbour returns an address that a machine on the link may have; invalid if unknown.
func (k *Kernel) neighbour(name string, f state.Family) netip.Addr {
	link, err := k.handle.LinkByName(name)
	if err != nil {
		return netip.Addr{}
	}
	addresses, err := k.handle.AddrList(link, family(f))
	if err != nil {
		return netip.Addr{}
	}
	for _, a := range addresses {
		if own, ok := netipx.FromStdIP(a.IP); ok && !prefix(a.IPNet).IsSingleIP() && !own.IsLinkLocalUnicast() {
			if next := own.Next(); prefix(a.IPNet).Contains(next) {
				return next
			}
			return own.Prev()
		}
	}
	return netip.Addr{}
}

// comesFrom returns the index of the link from which packets of a source come; 0 if it is this
// machine itself.
func (k *Kernel) comesFrom(source netip.Addr) int {
	routes, err := k.handle.RouteGet(source.AsSlice())
	if err != nil || len(routes) == 0 || routes[0].Type == unix.RTN_LOCAL {
		return 0
	}
	return routes[0].LinkIndex
}
