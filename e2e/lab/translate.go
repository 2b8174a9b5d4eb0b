package lab

import (
	"net/netip"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// routerTable is the table of a router.
const routerTable = "router"

// translator writes the nftables of a router.
type translator struct {
	conn                      *nftables.Conn
	table                     *nftables.Table
	post, pre, forward, input *nftables.Chain
	// seen has the addresses that were sent to.
	seen *nftables.Set
}

// rememberedFor is how long an address-restricted NAT lets an address in after the last packet to it.
const rememberedFor = 2 * time.Minute

// translate has use write to the router's table, whose chains exist afterwards.
func (n *Node) translate(use func(*translator) error) error {
	return n.Namespace(func(ns netns.NsHandle) error {
		conn, err := nftables.New(nftables.WithNetNSFd(int(ns)))
		if err != nil {
			return err
		}
		t := &translator{conn: conn, table: conn.AddTable(&nftables.Table{Name: routerTable, Family: nftables.TableFamilyIPv4})}
		chain := func(name string, kind nftables.ChainType, hook *nftables.ChainHook, priority *nftables.ChainPriority) *nftables.Chain {
			return conn.AddChain(&nftables.Chain{Table: t.table, Name: name, Type: kind, Hooknum: hook, Priority: priority})
		}
		t.pre = chain("pre", nftables.ChainTypeNAT, nftables.ChainHookPrerouting, nftables.ChainPriorityNATDest)
		t.post = chain("post", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource)
		t.forward = chain("forward", nftables.ChainTypeFilter, nftables.ChainHookForward, nftables.ChainPriorityFilter)
		t.input = chain("input", nftables.ChainTypeFilter, nftables.ChainHookInput, nftables.ChainPriorityFilter)
		if err := use(t); err != nil {
			return err
		}
		return conn.Flush()
	})
}

// filter sets up what a router of a kind translates and drops, without mapped ports.
func (n *Node) filter(kind Kind) error {
	return n.translate(func(t *translator) error {
		if kind != AnswersOnly {
			random := kind == PerDestination
			t.add(t.post, onLink(expr.MetaKeyOIFNAME), []expr.Any{&expr.Masq{Random: random, FullyRandom: random}})
		}
		switch kind {
		case FullCone:
			return nil
		case AddressRestricted:
			return t.letSeenIn()
		case UDPBlocked:
			t.dropUDP()
		default:
		}
		for _, chain := range []*nftables.Chain{t.forward, t.input} {
			t.add(chain, onLink(expr.MetaKeyIIFNAME), answers(expr.CmpOpEq), drop)
		}
		return nil
	})
}

// mapPort gives a machine behind a router of a kind a port for all destinations.
func (n *Node) mapPort(kind Kind, inside netip.AddrPort, port uint16) error {
	if kind == PerDestination || kind == UDPBlocked {
		return nil
	}
	return n.translate(func(t *translator) error {
		out, in := onLink(expr.MetaKeyOIFNAME), onLink(expr.MetaKeyIIFNAME)
		if kind == Hairpin {
			out, in = nil, nil
		}
		// It goes before the rule for everything else.
		t.insert(t.post, out, ofAddress(sourceAddress, inside.Addr()), udpPort(sourcePort, inside.Port()),
			toEndpoint(expr.NATTypeSourceNAT, netip.AddrPortFrom(n.Address, port)))
		if kind == FullCone || kind == AddressRestricted || kind == Hairpin {
			t.add(t.pre, in, ofAddress(destinationAddress, n.Address), udpPort(destinationPort, port), toEndpoint(expr.NATTypeDestNAT, inside))
		}
		return nil
	})
}

// letSeenIn lets in what comes from an address that was sent to, from whatever port.
func (t *translator) letSeenIn() error {
	t.seen = &nftables.Set{Table: t.table, Name: "seen", KeyType: nftables.TypeIPAddr, HasTimeout: true, Timeout: rememberedFor, Dynamic: true}
	if err := t.conn.AddSet(t.seen, nil); err != nil {
		return err
	}
	address := func(offset uint32) expr.Any {
		return &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 4}
	}
	accept := []expr.Any{&expr.Verdict{Kind: expr.VerdictAccept}}
	t.add(t.forward, onLink(expr.MetaKeyOIFNAME), udpPort(sourcePort, wireguardPort), []expr.Any{address(destinationAddress),
		&expr.Dynset{SrcRegKey: 1, SetName: t.seen.Name, SetID: t.seen.ID, Operation: unix.NFT_DYNSET_OP_UPDATE, Timeout: rememberedFor}})
	t.add(t.forward, onLink(expr.MetaKeyIIFNAME), answers(expr.CmpOpNeq), accept)
	t.add(t.forward, onLink(expr.MetaKeyIIFNAME), []expr.Any{address(sourceAddress),
		&expr.Lookup{SourceRegister: 1, SetName: t.seen.Name, SetID: t.seen.ID}}, accept)
	t.add(t.forward, onLink(expr.MetaKeyIIFNAME), drop)
	return nil
}

// blockedComment marks the rule that BlockUDP adds.
var blockedComment = []byte("blocked")

// dropUDP drops what a router would forward of UDP.
func (t *translator) dropUDP() {
	t.conn.InsertRule(&nftables.Rule{Table: t.table, Chain: t.forward, Exprs: append(protocol(unix.IPPROTO_UDP), drop...), UserData: blockedComment})
}

// BlockUDP makes a router drop UDP, whatever its kind.
func (n *Node) BlockUDP() error {
	return n.translate(func(t *translator) error {
		t.dropUDP()
		return nil
	})
}

// UnblockUDP makes a router forward UDP again.
func (n *Node) UnblockUDP() error {
	return n.translate(func(t *translator) error {
		rules, err := t.conn.GetRules(t.table, t.forward)
		if err != nil {
			return err
		}
		for _, r := range rules {
			if string(r.UserData) == string(blockedComment) {
				if err := t.conn.DelRule(r); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// The places of what rules match, in the headers of IPv4 and UDP.
const (
	sourceAddress, destinationAddress = 12, 16
	sourcePort, destinationPort       = 0, 2
)

var drop = []expr.Any{&expr.Verdict{Kind: expr.VerdictDrop}}

func (t *translator) add(chain *nftables.Chain, parts ...[]expr.Any) {
	t.conn.AddRule(&nftables.Rule{Table: t.table, Chain: chain, Exprs: joined(parts)})
}

func (t *translator) insert(chain *nftables.Chain, parts ...[]expr.Any) {
	t.conn.InsertRule(&nftables.Rule{Table: t.table, Chain: chain, Exprs: joined(parts)})
}

func joined(parts [][]expr.Any) []expr.Any {
	var all []expr.Any
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

// answers matches packets of connections that were begun from inside with CmpOpNeq, and all others
// with CmpOpEq.
func answers(op expr.CmpOp) []expr.Any {
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(known), Xor: make([]byte, 4)},
		&expr.Cmp{Op: op, Register: 1, Data: make([]byte, 4)},
	}
}

func protocol(number byte) []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{number}}}
}

func ofAddress(offset uint32, a netip.Addr) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 4},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: a.AsSlice()},
	}
}

func udpPort(offset uint32, port uint16) []expr.Any {
	return append(protocol(unix.IPPROTO_UDP),
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(port)})
}

func toEndpoint(kind expr.NATType, to netip.AddrPort) []expr.Any {
	return []expr.Any{
		&expr.Immediate{Register: 1, Data: to.Addr().AsSlice()},
		&expr.Immediate{Register: 2, Data: binaryutil.BigEndian.PutUint16(to.Port())},
		&expr.NAT{Type: kind, Family: unix.NFPROTO_IPV4, RegAddrMin: 1, RegProtoMin: 2},
	}
}
