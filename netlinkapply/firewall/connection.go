package firewall

import (
	"github.com/google/nftables/expr"

	"github.com/spanmesh/span/reconciler/state"
)

// The directions of a connection's packets (nf_conntrack_tuple_common.h).
const (
	original = 0
	reply    = 1
)

// beginsNothing matches TCP packets other than those that begin a connection. Of other protocols it
// matches all: what begins an exchange of ICMP has another type than its reply.
func beginsNothing(protocol state.IPProtocol) []expr.Any {
	if protocol != state.TCP {
		return nil
	}
	return join(transport(tcpFlagsOffset, 1), mask([]byte{tcpFlagSYN | tcpFlagACK}, []byte{0}),
		&expr.Cmp{Op: expr.CmpOpNeq, Register: register, Data: []byte{tcpFlagSYN}})
}

// otherNote compares the mark of a packet's connection to our other mark by op.
func otherNote(s state.Statement, op expr.CmpOp) []expr.Any {
	return join(
		&expr.Ct{Key: expr.CtKeyMARK, Register: register},
		mask(native(s.Mask), native(0)),
		&expr.Cmp{Op: op, Register: register, Data: native(s.Mask &^ s.Mark)},
	)
}

// noteConnection marks the connection of a packet of the direction that began it. Only our bits
// of the mark change.
func noteConnection(s state.Statement) []expr.Any {
	return join(
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
