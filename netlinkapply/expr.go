package netlinkapply

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/reconciler/state"
)

// Offsets and values of the headers that rules look at.
const (
	tcpFlagsOffset  = 13 // RFC 9293, section 3.1
	tcpFlagSYN      = 0x02
	tcpFlagRST      = 0x04
	tcpOptionMSS    = 2 // RFC 9293, section 3.2: kind, then length, then the size
	mssOffset       = 2
	mssLength       = 2
	ip4DaddrOffset  = 16 // RFC 791, section 3.1
	ip6DaddrOffset  = 24 // RFC 8200, section 3
	interfaceLength = 16 // IFNAMSIZ
	register        = 1
	// The first and last type of neighbour discovery (RFC 4861, section 4).
	routerSolicitation = 133
	redirect           = 137
)

// setNames are the names of the sets of routed networks.
var setNames = map[state.Family]string{state.IPv4: "routed4", state.IPv6: "routed6"}

// compile turns a statement into nftables expressions. Sets are found by name.
func compile(s state.Statement) ([]expr.Any, error) {
	switch s.Op {
	case state.AcceptMark:
		return join(
			&expr.Meta{Key: expr.MetaKeyMARK, Register: register},
			mask(native(s.Mask), native(0)),
			equals(native(s.Mark)),
			accept(),
		), nil
	case state.AcceptLoopback:
		return join(&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: register}, equals(interfaceName("lo")), accept()), nil
	case state.AcceptNeighbours:
		return join(
			isFamily(state.IPv6),
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: register},
			equals([]byte{unix.IPPROTO_ICMPV6}),
			&expr.Payload{DestRegister: register, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 1},
			&expr.Cmp{Op: expr.CmpOpGte, Register: register, Data: []byte{routerSolicitation}},
			&expr.Cmp{Op: expr.CmpOpLte, Register: register, Data: []byte{redirect}},
			accept(),
		), nil
	case state.ClampMSS:
		return clamp(s), nil
	case state.RouteMarked:
		return join(
			isFamily(s.Family),
			inNetworks(s.Family),
			&expr.Meta{Key: expr.MetaKeyMARK, Register: register},
			mask(native(^s.Mask), native(s.Mark)),
			&expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: register},
			accept(),
		), nil
	case state.DropLoop:
		return join(
			&expr.Meta{Key: expr.MetaKeyMARK, Register: register},
			mask(native(s.Mask), native(0)),
			equals(native(s.Mark)),
			&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: register},
			equals(interfaceName(s.Link)),
			&expr.Verdict{Kind: expr.VerdictDrop},
		), nil
	case state.NoteInside:
		return note(s, expr.CmpOpEq), nil
	case state.NoteOutside:
		return note(s, expr.CmpOpNeq), nil
	case state.FollowInside:
		return join(
			isReplyOf(s),
			&expr.Meta{Key: expr.MetaKeyMARK, Register: register},
			mask(native(^s.Mask), native(s.Mark)),
			&expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: register},
			accept(),
		), nil
	case state.FollowOutside:
		return join(isReplyOf(s), accept()), nil
	default:
		return nil, fmt.Errorf("there is no firewall rule for the operation %q", s.Op)
	}
}

// The directions of a connection's packets (nf_conntrack_tuple_common.h).
const (
	original = 0
	reply    = 1
)

// note marks the connection of a packet that comes over our link, or over another.
func note(s state.Statement, op expr.CmpOp) []expr.Any {
	return join(
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: register},
		&expr.Cmp{Op: op, Register: register, Data: interfaceName(s.Link)},
		&expr.Ct{Key: expr.CtKeyDIRECTION, Register: register},
		equals([]byte{original}),
		&expr.Ct{Key: expr.CtKeyMARK, Register: register},
		mask(native(^s.Mask), native(s.Mark)),
		&expr.Ct{Key: expr.CtKeyMARK, SourceRegister: true, Register: register},
	)
}

// isReplyOf matches replies in connections with the mark.
func isReplyOf(s state.Statement) []expr.Any {
	return join(
		&expr.Ct{Key: expr.CtKeyDIRECTION, Register: register},
		equals([]byte{reply}),
		&expr.Ct{Key: expr.CtKeyMARK, Register: register},
		mask(native(s.Mask), native(0)),
		equals(native(s.Mark)),
	)
}

// interfaceName is the name of a link as the kernel compares it.
func interfaceName(name string) []byte {
	out := make([]byte, interfaceLength)
	copy(out, name)
	return out
}

func clamp(s state.Statement) []expr.Any {
	size := binaryutil.BigEndian.PutUint16(uint16(s.MSS))
	return join(
		isFamily(s.Family),
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: register},
		equals([]byte{unix.IPPROTO_TCP}),
		&expr.Payload{DestRegister: register, Base: expr.PayloadBaseTransportHeader, Offset: tcpFlagsOffset, Len: 1},
		mask([]byte{tcpFlagSYN | tcpFlagRST}, []byte{0}),
		equals([]byte{tcpFlagSYN}),
		inNetworks(s.Family),
		&expr.Exthdr{DestRegister: register, Type: tcpOptionMSS, Offset: mssOffset, Len: mssLength, Op: expr.ExthdrOpTcpopt},
		&expr.Cmp{Op: expr.CmpOpGt, Register: register, Data: size},
		&expr.Immediate{Register: register, Data: size},
		&expr.Exthdr{SourceRegister: register, Type: tcpOptionMSS, Offset: mssOffset, Len: mssLength, Op: expr.ExthdrOpTcpopt},
	)
}

// join strings together expressions and lists of them.
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

// native is a number in the byte order of the machine, as marks are kept.
func native(n uint32) []byte { return binaryutil.NativeEndian.PutUint32(n) }

// mask computes register = register & and ^ xor.
func mask(and, xor []byte) expr.Any {
	return &expr.Bitwise{SourceRegister: register, DestRegister: register, Len: uint32(len(and)), Mask: and, Xor: xor}
}

func equals(data []byte) expr.Any {
	return &expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: data}
}

func accept() expr.Any { return &expr.Verdict{Kind: expr.VerdictAccept} }

func isFamily(f state.Family) []expr.Any {
	number := byte(unix.NFPROTO_IPV4)
	if f == state.IPv6 {
		number = unix.NFPROTO_IPV6
	}
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: register}, equals([]byte{number})}
}

// inNetworks matches packets to the routed networks.
func inNetworks(f state.Family) []expr.Any {
	daddr := &expr.Payload{DestRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: ip4DaddrOffset, Len: 4}
	if f == state.IPv6 {
		daddr.Offset, daddr.Len = ip6DaddrOffset, 16
	}
	return []expr.Any{daddr, &expr.Lookup{SourceRegister: register, SetName: setNames[f]}}
}

// render is a text that equal lists of expressions share, whether they were
// compiled or read from the kernel.
func render(exprs []expr.Any) string {
	var b strings.Builder
	for _, e := range exprs {
		switch x := e.(type) {
		case *expr.Lookup:
			// The kernel numbers sets; the name tells them apart.
			b.WriteString("lookup " + x.SetName)
			if x.Invert {
				b.WriteString(" inverted")
			}
		case *expr.Verdict:
			fmt.Fprintf(&b, "verdict %d %s", x.Kind, x.Chain)
		case *expr.Ct:
			// The library does not read back which register a mark is set from.
			if x.SourceRegister || x.Register == 0 {
				fmt.Fprintf(&b, "ct set %d", x.Key)
			} else {
				fmt.Fprintf(&b, "ct %d", x.Key)
			}
		default:
			fmt.Fprintf(&b, "%T %+v", e, e)
		}
		b.WriteString("; ")
	}
	return b.String()
}

// recognize reads a rule back into the statement that its comment names, if
// its expressions are what that statement compiles to. Any other rule is
// foreign.
func recognize(r *nftables.Rule) state.Statement {
	text := comment(r.UserData)
	statement, err := state.ParseComment(text)
	if err == nil {
		if exprs, err := compile(statement); err == nil && render(exprs) == render(r.Exprs) {
			return statement
		}
	}
	return state.Statement{Op: state.Foreign, Text: render(r.Exprs)}
}

// commentType is the type of a rule's comment in its user data, a list of type,
// length and value (libnftnl's udata.h).
const commentType = 0

// comment reads the comment of a rule as nft(8) keeps it.
func comment(userData []byte) string {
	for len(userData) >= 2 {
		length := int(userData[1])
		if len(userData) < 2+length {
			return ""
		}
		if userData[0] == commentType {
			return string(bytes.TrimRight(userData[2:2+length], "\x00"))
		}
		userData = userData[2+length:]
	}
	return ""
}
