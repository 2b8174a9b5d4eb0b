package firewall

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// generations asks for the generation of nftables: a number that changes with every transaction
// in this network namespace, whosever. What rules have counted does not change it.
type generations struct{ conn *netlink.Conn }

func openGenerations() (*generations, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, fmt.Errorf("open a netlink socket for nftables: %w", err)
	}
	return &generations{conn}, nil
}

func (g *generations) close() {
	if g != nil {
		_ = g.conn.Close()
	}
}

// nfHeader is the length of the header before the attributes of nftables (struct nfgenmsg).
const nfHeader = 4

// now returns the present generation; 0, which no generation is, with an error.
func (g *generations) now() (uint32, error) {
	const kind = unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETGEN
	messages, err := g.conn.Execute(netlink.Message{
		Header: netlink.Header{Type: kind, Flags: netlink.Request},
		Data:   make([]byte, nfHeader),
	})
	if err != nil {
		return 0, fmt.Errorf("ask for the generation of nftables: %w", err)
	}
	return parseGeneration(messages)
}

func parseGeneration(messages []netlink.Message) (uint32, error) {
	const kind = unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_NEWGEN
	for _, m := range messages {
		if m.Header.Type != kind || len(m.Data) < nfHeader {
			continue
		}
		attributes, err := netlink.NewAttributeDecoder(m.Data[nfHeader:])
		if err != nil {
			return 0, fmt.Errorf("the generation of nftables: %w", err)
		}
		attributes.ByteOrder = binary.BigEndian
		for attributes.Next() {
			if attributes.Type() != unix.NFTA_GEN_ID {
				continue
			}
			if n := attributes.Uint32(); n != 0 {
				return n, attributes.Err()
			}
		}
		if err := attributes.Err(); err != nil {
			return 0, fmt.Errorf("the generation of nftables: %w", err)
		}
	}
	return 0, errors.New("the kernel returned no generation of nftables")
}
