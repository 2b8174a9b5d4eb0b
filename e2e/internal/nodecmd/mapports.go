package nodecmd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/e2e/lab"
)

// FirstMapped is the outer port that map-ports gives first. Each further mapping has the next one:
// connections of before stay where they were forwarded to.
const FirstMapped = 40001

// The layout of PCP (RFC 6887, sections 7 and 11.1), and result codes (section 7.4).
const (
	pcpPort          = 5351
	pcpHeader        = 24
	pcpMapSize       = pcpHeader + 36
	pcpVersion       = 2
	pcpOpcodeMap     = 1
	pcpResponse      = 0x80
	pcpNotAuthorized = 2
)

// portMapper is the PCP server of a site's router.
type portMapper struct {
	outer netip.Addr
	// refuses is set where it refuses all.
	refuses bool
	// next is the outer port of the next mapping.
	next uint16
	// mapped are the mappings by the machine's port, nonces what they were made with.
	mapped map[netip.AddrPort]uint16
	nonces map[netip.AddrPort][12]byte
}

// mapPorts answers PCP on a site's router with the outer address args[0] until SIGTERM, and forwards the
// ports that it maps; with "refuse" as args[1], it maps none. It prints what it does.
func mapPorts(args []string) error {
	outer, err := netip.ParseAddr(args[0])
	if err != nil {
		return err
	}
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{Port: pcpPort})
	if err != nil {
		return err
	}
	p := &portMapper{outer, len(args) > 1 && args[1] == "refuse", FirstMapped, map[netip.AddrPort]uint16{}, map[netip.AddrPort][12]byte{}}
	if err := errors.Join(letMapped(), p.write()); err != nil {
		return err
	}
	var group errgroup.Group
	group.Go(func() error { return p.serve(conn) })
	err = AwaitSignal()
	return errors.Join(err, conn.Close(), group.Wait())
}

func (p *portMapper) serve(conn *net.UDPConn) error {
	buffer := make([]byte, 1500)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buffer)
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		if n < pcpHeader || buffer[0] != pcpVersion || buffer[1]&pcpResponse != 0 {
			continue
		}
		answer, err := p.answer(from.Addr().Unmap(), slices.Clone(buffer[:n]))
		if err != nil {
			return err
		}
		_, _ = conn.WriteToUDPAddrPort(answer, from)
	}
}

// answer makes a request its answer.
func (p *portMapper) answer(from netip.Addr, m []byte) (answer []byte, err error) {
	m[1] |= pcpResponse
	clear(m[8:pcpHeader])
	if m[1]&^pcpResponse != pcpOpcodeMap || len(m) < pcpMapSize {
		return m, nil
	}
	inner, nonce := netip.AddrPortFrom(from, binary.BigEndian.Uint16(m[40:])), [12]byte(m[24:36])
	port, known := p.mapped[inner]
	if p.refuses || known && p.nonces[inner] != nonce {
		fmt.Printf("refused %v\n", inner)
		m[3] = pcpNotAuthorized
		return m, nil
	}
	switch lifetime := binary.BigEndian.Uint32(m[4:]); {
	case lifetime == 0:
		delete(p.mapped, inner)
		fmt.Printf("released %v\n", inner)
	case known:
		fmt.Printf("renewed %v\n", inner)
	default:
		port = p.next
		p.next++
		p.mapped[inner], p.nonces[inner] = port, nonce
		fmt.Printf("mapped %v\n", inner)
	}
	binary.BigEndian.PutUint16(m[42:], port)
	outer := p.outer.As16()
	copy(m[44:], outer[:])
	return m, p.write()
}

// write forwards the ports that are mapped, and no others.
func (p *portMapper) write() error {
	conn, err := nftables.New()
	if err != nil {
		return err
	}
	table := conn.AddTable(&nftables.Table{Name: "map-ports", Family: nftables.TableFamilyIPv4})
	chain := conn.AddChain(&nftables.Chain{Table: table, Name: "pre", Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityNATDest})
	conn.FlushChain(chain)
	name := make([]byte, 16)
	copy(name, lab.Link)
	for inner, port := range p.mapped {
		conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
			&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: name},
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_UDP}},
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(port)},
			&expr.Immediate{Register: 1, Data: inner.Addr().AsSlice()},
			&expr.Immediate{Register: 2, Data: binaryutil.BigEndian.PutUint16(inner.Port())},
			&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1, RegProtoMin: 2},
		}})
	}
	return conn.Flush()
}

// letMapped lets packets to mapped ports through the router, before the rule that drops unsolicited ones.
func letMapped() error {
	conn, err := nftables.New()
	if err != nil {
		return err
	}
	const destinationNAT = 1 << 5 // IPS_DST_NAT of linux/netfilter/nf_conntrack_common.h
	table := &nftables.Table{Name: "nat", Family: nftables.TableFamilyIPv4}
	conn.InsertRule(&nftables.Rule{Table: table, Chain: &nftables.Chain{Table: table, Name: "forward"}, Exprs: []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATUS, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(destinationNAT), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
		&expr.Verdict{Kind: expr.VerdictAccept},
	}})
	return conn.Flush()
}
