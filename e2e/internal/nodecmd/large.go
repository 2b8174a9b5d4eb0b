package nodecmd

import (
	"encoding/binary"
	"strconv"

	"github.com/google/nftables/expr"
	vnetlink "github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// LargeTable is the table of the rule of drop-large.
const LargeTable = "drop-large"

// dropLarge drops UDP packets of more than args[0] bytes that come in from the lab's network, and
// tells nobody: a path with a small MTU whose routers' messages are filtered.
func dropLarge(args []string) error {
	size, err := strconv.ParseUint(args[0], 10, 32)
	if err != nil {
		return err
	}
	link, err := LabLink(&vnetlink.Handle{})
	if err != nil {
		return err
	}
	name := make([]byte, 16)
	copy(name, link.Attrs().Name)
	return filterInput(LargeTable,
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: name},
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_UDP}},
		&expr.Meta{Key: expr.MetaKeyLEN, Register: 1},
		// Numbers are compared as bytes, most significant first.
		&expr.Byteorder{SourceRegister: 1, DestRegister: 1, Op: expr.ByteorderHton, Len: 4, Size: 4},
		&expr.Cmp{Op: expr.CmpOpGt, Register: 1, Data: binary.BigEndian.AppendUint32(nil, uint32(size))},
		&expr.Verdict{Kind: expr.VerdictDrop})
}
