package nodecmd

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// BlockTable is the table of the rules of block. DeleteNamedTable of it takes them again.
const BlockTable = "block"

// block keeps packets to the port args[1] of the protocol args[0], "udp" or "tcp", from passing, as
// args[2] says: "in" drops those that come in, "out" those that go out to that port or from it,
// "reject" refuses those that come in. Those of the address args[3] alone, if it is given.
func block(args []string) error {
	port, err := strconv.ParseUint(args[1], 10, 16)
	if err != nil {
		return err
	}
	protocol := map[string]byte{"udp": unix.IPPROTO_UDP, "tcp": unix.IPPROTO_TCP}[args[0]]
	hook, ok := map[string]*nftables.ChainHook{
		"in": nftables.ChainHookPrerouting, "out": nftables.ChainHookOutput, "reject": nftables.ChainHookInput,
	}[args[2]]
	if protocol == 0 || !ok {
		return fmt.Errorf("cannot block %s %s", args[0], args[2])
	}
	const source, destination, from, to = 0, 2, 12, 16 // RFC 768, RFC 9293; RFC 791, section 3.1
	ports, address := []uint32{destination}, uint32(from)
	verdict := expr.Any(&expr.Verdict{Kind: expr.VerdictDrop})
	switch args[2] {
	case "out":
		ports, address = []uint32{source, destination}, to
	case "reject":
		verdict = &expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_PORT_UNREACH}
	}
	conn, err := nftables.New()
	if err != nil {
		return err
	}
	table := conn.AddTable(&nftables.Table{Name: BlockTable, Family: nftables.TableFamilyINet})
	chain := conn.AddChain(&nftables.Chain{Table: table, Name: args[0] + args[2], Type: nftables.ChainTypeFilter,
		Hooknum: hook, Priority: nftables.ChainPriorityRaw})
	for _, offset := range ports {
		match := []expr.Any{
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{protocol}},
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: 2},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binary.BigEndian.AppendUint16(nil, uint16(port))},
		}
		if len(args) > 3 {
			other, err := netip.ParseAddr(args[3])
			if err != nil {
				return err
			}
			match = append(match,
				&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
				&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.NFPROTO_IPV4}},
				&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: address, Len: 4},
				&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: other.AsSlice()})
		}
		conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: append(match, verdict)})
	}
	return conn.Flush()
}
