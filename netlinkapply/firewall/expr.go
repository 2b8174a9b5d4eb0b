package firewall

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/reconciler/reflection"
	"github.com/spanmesh/span/reconciler/state"
)

// Offsets and values of the headers that rules look at.
const (
	tcpFlagsOffset   = 13 // RFC 9293, section 3.1
	tcpFlagSYN       = 0x02
	tcpFlagRST       = 0x04
	tcpFlagACK       = 0x10
	tcpOptionMSS     = 2 // RFC 9293, section 3.2: kind, then length, then the size
	mssOffset        = 2
	mssLength        = 2
	ip4DaddrOffset   = 16 // RFC 791, section 3.1
	ip4SaddrOffset   = 12
	ip6DaddrOffset   = 24 // RFC 8200, section 3
	ip6SaddrOffset   = 8
	udpSourceOffset  = 0 // RFC 768
	udpPortOffset    = 2
	udpPayloadOffset = 8
	interfaceLength  = 16 // IFNAMSIZ
	register         = 1
	// The first and last type of neighbour discovery (RFC 4861, section 4).
	routerSolicitation = 133
	redirect           = 137
)

// AgentPriority is the priority (SO_PRIORITY, socket(7)) of the sockets of an agent whose packets
// stay out of the tunnel. With the mark, it shows whose they are: another program that sets marks
// leaves the priority alone. Queueing disciplines look at its lowest four bits, which are those of
// other packets, or take the upper half for one of theirs, which has no such number.
const AgentPriority = 0x7370_0000

// setNames are the names of the sets of routed networks.
var setNames = map[state.Family]string{state.IPv4: "routed4", state.IPv6: "routed6"}

// protocols are the numbers of the protocols in IP headers.
var protocols = map[state.IPProtocol]byte{state.TCP: unix.IPPROTO_TCP, state.ICMP: unix.IPPROTO_ICMP, state.ICMPv6: unix.IPPROTO_ICMPV6}

// operations are the nftables expressions of each operation.
var operations = map[state.Op]func(state.Statement) []expr.Any{
	state.AcceptWireGuard: func(s state.Statement) []expr.Any {
		return join(hasPacketMark(s), fromPort(s.Port), accept())
	},
	state.AcceptAgent: func(s state.Statement) []expr.Any {
		return join(hasPacketMark(s), &expr.Meta{Key: expr.MetaKeyPRIORITY, Register: register}, equals(native(AgentPriority)), accept())
	},
	state.AcceptLoopback: func(state.Statement) []expr.Any {
		return join(leavesOver("lo"), accept())
	},
	state.AcceptNeighbours: func(state.Statement) []expr.Any {
		return join(
			isFamily(state.IPv6),
			isProtocol(unix.IPPROTO_ICMPV6),
			transport(0, 1),
			&expr.Cmp{Op: expr.CmpOpGte, Register: register, Data: []byte{routerSolicitation}},
			&expr.Cmp{Op: expr.CmpOpLte, Register: register, Data: []byte{redirect}},
			accept(),
		)
	},
	state.ClampMSS: clamp,
	state.RouteMarked: func(s state.Statement) []expr.Any {
		return join(isFamily(s.Family), isIn(s.Family, destination, false), setPacketMark(s), accept())
	},
	state.DropOwnLoop: func(s state.Statement) []expr.Any {
		return join(hasPacketMark(s), leavesOver(s.Link), fromPort(s.Port), drop())
	},
	state.DropBare: func(s state.Statement) []expr.Any {
		return join(fromPort(s.Port), isFamily(s.Family), isIn(s.Family, destination, false), countAndDrop())
	},
	state.NoteInside: func(s state.Statement) []expr.Any {
		return join(arrivesOver(s.Link, expr.CmpOpEq), isFamily(s.Family), notFrom(s.Subnet), noteConnection(s))
	},
	state.NoteOutside: func(s state.Statement) []expr.Any {
		return join(arrivesOver(s.Link, expr.CmpOpNeq), isProtocol(protocols[s.Protocol]), isFamily(s.Family),
			isIn(s.Family, source, false), otherNote(s, expr.CmpOpNeq), noteConnection(s))
	},
	state.NoteWireGuard: func(s state.Statement) []expr.Any {
		return join(arrivesOver(s.Link, expr.CmpOpNeq), toPort(s.Port), isFamily(s.Family), isIn(s.Family, source, false), noteConnection(s))
	},
	state.MovedOutside: func(s state.Statement) []expr.Any {
		return join(arrivesOver(s.Link, expr.CmpOpNeq), isFamily(s.Family), isIn(s.Family, source, true),
			otherNote(s, expr.CmpOpEq), noteConnection(s))
	},
	state.DropForged: func(s state.Statement) []expr.Any {
		return join(arrivesOver(s.Link, expr.CmpOpNeq), arrivesOver("lo", expr.CmpOpNeq), isFamily(state.IPv6),
			address(state.IPv6, source), inSubnet(s.Subnet, expr.CmpOpEq), countAndDrop())
	},
	state.AcceptLink: func(s state.Statement) []expr.Any {
		return join(leavesOver(s.Link), accept())
	},
	state.DropMarked: func(s state.Statement) []expr.Any {
		return join(hasPacketMark(s), isFamily(s.Family), isIn(s.Family, destination, false), countAndDrop())
	},
	state.DropClear: func(s state.Statement) []expr.Any {
		return join(isFamily(s.Family), isIn(s.Family, destination, false), countAndDrop())
	},
	state.DropSubnet: func(s state.Statement) []expr.Any {
		return join(isFamily(state.IPv6), address(state.IPv6, destination), inSubnet(s.Subnet, expr.CmpOpEq), countAndDrop())
	},
	state.FollowInside: func(s state.Statement) []expr.Any {
		return join(isReplyOf(s), setPacketMark(s), accept())
	},
	state.FollowOutside: func(s state.Statement) []expr.Any {
		return join(isReplyOf(s), isProtocol(protocols[s.Protocol]), beginsNothing(s.Protocol), accept())
	},
	state.CountReflections: func(s state.Statement) []expr.Any {
		return join(toPort(s.Port),
			transport(udpPayloadOffset, len(reflection.Prefix)), equals([]byte(reflection.Prefix)), &expr.Counter{})
	},
}

// compile returns the nftables expressions of a statement. Sets are found by name.
func compile(s state.Statement) ([]expr.Any, error) {
	expressions, known := operations[s.Op]
	if !known {
		return nil, fmt.Errorf("firewall rule %q: unknown operation", s.Op)
	}
	return expressions(s), nil
}

// arrivesOver matches packets whose incoming interface compares to the link by op.
func arrivesOver(link string, op expr.CmpOp) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: register},
		&expr.Cmp{Op: op, Register: register, Data: interfaceName(link)},
	}
}

// notFrom matches packets from outside of a subnet; all if that is invalid.
func notFrom(subnet netip.Prefix) []expr.Any {
	if !subnet.IsValid() {
		return nil
	}
	return join(address(state.FamilyOf(subnet.Addr()), source), inSubnet(subnet, expr.CmpOpNeq))
}

// inSubnet compares the address in the register to a subnet by op.
func inSubnet(subnet netip.Prefix, op expr.CmpOp) []expr.Any {
	bits := net.CIDRMask(subnet.Bits(), subnet.Addr().BitLen())
	return join(mask(bits, make([]byte, len(bits))),
		&expr.Cmp{Op: op, Register: register, Data: subnet.Masked().Addr().AsSlice()})
}

// hasPacketMark matches packets with the statement's mark.
func hasPacketMark(s state.Statement) []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyMARK, Register: register}, mask(native(s.Mask), native(0)), equals(native(s.Mark))}
}

// setPacketMark gives packets the statement's mark and keeps the bits outside of its mask.
func setPacketMark(s state.Statement) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyMARK, Register: register},
		mask(native(^s.Mask), native(s.Mark)),
		&expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: register},
	}
}

// leavesOver matches packets that leave over the named link.
func leavesOver(link string) []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: register}, equals(interfaceName(link))}
}

// fromPort matches UDP packets from a port; from any if that is 0.
func fromPort(port int) []expr.Any {
	if port == 0 {
		return isProtocol(unix.IPPROTO_UDP)
	}
	return join(isProtocol(unix.IPPROTO_UDP),
		&expr.Payload{DestRegister: register, Base: expr.PayloadBaseTransportHeader, Offset: udpSourceOffset, Len: 2},
		equals(binaryutil.BigEndian.PutUint16(uint16(port))))
}

// toPort matches UDP packets to a port.
func toPort(port int) []expr.Any {
	return join(isProtocol(unix.IPPROTO_UDP), transport(udpPortOffset, 2), equals(binaryutil.BigEndian.PutUint16(uint16(port))))
}

func isProtocol(number byte) []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: register}, equals([]byte{number})}
}

// transport loads a part of the packet after its IP header into the register.
func transport(offset uint32, length int) expr.Any {
	return &expr.Payload{DestRegister: register, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: uint32(length)}
}

// interfaceName returns the name of a link, padded as the kernel compares it.
func interfaceName(name string) []byte {
	out := make([]byte, interfaceLength)
	copy(out, name)
	return out
}

// clamp lowers the maximum segment size of TCP connections to the routed networks.
func clamp(s state.Statement) []expr.Any {
	size := binaryutil.BigEndian.PutUint16(uint16(s.MSS))
	return join(
		isFamily(s.Family),
		isProtocol(unix.IPPROTO_TCP),
		transport(tcpFlagsOffset, 1),
		mask([]byte{tcpFlagSYN | tcpFlagRST}, []byte{0}),
		equals([]byte{tcpFlagSYN}),
		isIn(s.Family, destination, false),
		&expr.Exthdr{DestRegister: register, Type: tcpOptionMSS, Offset: mssOffset, Len: mssLength, Op: expr.ExthdrOpTcpopt},
		&expr.Cmp{Op: expr.CmpOpGt, Register: register, Data: size},
		&expr.Immediate{Register: register, Data: size},
		&expr.Exthdr{SourceRegister: register, Type: tcpOptionMSS, Offset: mssOffset, Len: mssLength, Op: expr.ExthdrOpTcpopt},
	)
}

// join concatenates expressions and lists of them.
func join(parts ...any) []expr.Any {
	var out []expr.Any
	for _, part := range parts {
		switch p := part.(type) {
		case []expr.Any:
			out = append(out, p...)
		case expr.Any:
			out = append(out, p)
		}
	}
	return out
}

// native returns a number in the machine's byte order, which marks have.
func native(n uint32) []byte { return binaryutil.NativeEndian.PutUint32(n) }

// mask computes register = register & and ^ xor.
func mask(and, xor []byte) expr.Any {
	return &expr.Bitwise{SourceRegister: register, DestRegister: register, Len: uint32(len(and)), Mask: and, Xor: xor}
}

func equals(data []byte) expr.Any {
	return &expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: data}
}

// countAndDrop drops packets and counts them.
func countAndDrop() []expr.Any { return []expr.Any{&expr.Counter{}, drop()} }

func drop() expr.Any { return &expr.Verdict{Kind: expr.VerdictDrop} }

func accept() expr.Any { return &expr.Verdict{Kind: expr.VerdictAccept} }

func isFamily(f state.Family) []expr.Any {
	number := byte(unix.NFPROTO_IPV4)
	if f == state.IPv6 {
		number = unix.NFPROTO_IPV6
	}
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: register}, equals([]byte{number})}
}

// end is one end of a packet.
type end int

const (
	source end = iota
	destination
)

// address loads the address of a packet's end into the register.
func address(f state.Family, e end) expr.Any {
	offsets := map[state.Family][2]uint32{
		state.IPv4: {source: ip4SaddrOffset, destination: ip4DaddrOffset},
		state.IPv6: {source: ip6SaddrOffset, destination: ip6DaddrOffset},
	}
	length := uint32(len(f.Everything().Addr().AsSlice()))
	return &expr.Payload{DestRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: offsets[f][e], Len: length}
}

// isIn matches packets with one end in the routed networks, or outside of them if invert is set.
func isIn(f state.Family, e end, invert bool) []expr.Any {
	return []expr.Any{address(f, e), &expr.Lookup{SourceRegister: register, SetName: setNames[f], Invert: invert}}
}
