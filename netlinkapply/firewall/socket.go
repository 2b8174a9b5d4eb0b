package firewall

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/netlinkapply/netattr"
)

// socket asks nftables what the library has no question for, or reads with much garbage.
type socket struct{ conn *netlink.Conn }

func openSocket() (*socket, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, fmt.Errorf("open a netlink socket for nftables: %w", err)
	}
	return &socket{conn}, nil
}

func (s *socket) close() {
	if s != nil {
		_ = s.conn.Close()
	}
}

// nfHeader is the length of the header before the attributes of nftables (struct nfgenmsg).
const nfHeader = 4

// generation returns the present generation of nftables: a number that changes with every
// transaction in this network namespace, whosever. What rules have counted does not change it. It is
// 0, which no generation is, with an error.
func (s *socket) generation() (uint32, error) {
	const kind = unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETGEN
	messages, err := s.conn.Execute(netlink.Message{
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

// packets returns what each rule of a chain has counted, in their order; 0 for one that does not
// count.
func (s *socket) packets(tableName, chain string) ([]uint64, error) {
	const kind = unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETRULE
	names, err := netlink.MarshalAttributes([]netlink.Attribute{
		{Type: unix.NFTA_RULE_TABLE, Data: append([]byte(tableName), 0)},
		{Type: unix.NFTA_RULE_CHAIN, Data: append([]byte(chain), 0)},
	})
	if err != nil {
		return nil, err
	}
	messages, err := s.conn.Execute(netlink.Message{
		Header: netlink.Header{Type: kind, Flags: netlink.Request | netlink.Dump},
		Data:   append([]byte{unix.NFPROTO_INET, 0, 0, 0}, names...),
	})
	if err != nil {
		return nil, err
	}
	all := make([]uint64, 0, len(messages))
	for _, m := range messages {
		if m.Header.Type != unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_NEWRULE || len(m.Data) < nfHeader {
			return nil, errors.New("the kernel returned no rule")
		}
		n, err := parsePackets(m.Data[nfHeader:])
		if err != nil {
			return nil, err
		}
		all = append(all, n)
	}
	return all, nil
}

// parsePackets returns the packets of the first counter in a rule; 0 if there is none.
func parsePackets(rule []byte) (uint64, error) {
	const size = 8
	attributes := netattr.NewList(rule)
	if !attributes.Find(unix.NFTA_RULE_EXPRESSIONS) {
		return 0, attributes.Err
	}
	expressions := netattr.NewList(attributes.Value)
	for expressions.Next() {
		expression := netattr.NewList(expressions.Value)
		if !expression.Find(unix.NFTA_EXPR_NAME) || string(expression.Value) != "counter\x00" || !expression.Find(unix.NFTA_EXPR_DATA) {
			if expression.Err != nil {
				return 0, expression.Err
			}
			continue
		}
		counter := netattr.NewList(expression.Value)
		if !counter.Find(unix.NFTA_COUNTER_PACKETS) || len(counter.Value) != size {
			return 0, errors.Join(errors.New("a counter without packets"), counter.Err)
		}
		return binary.BigEndian.Uint64(counter.Value), nil
	}
	return 0, expressions.Err
}
