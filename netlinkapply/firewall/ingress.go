package firewall

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// IngressChain is a chain that sees packets before all others do, and before they are counted.
type IngressChain struct {
	// Name is the chain's, as nft(8) names it: its family, table and chain.
	Name string
	// Drops is set if it is known to drop UDP to the port that was asked for.
	Drops bool
}

// inetIngress is the number of the ingress hook in tables of family inet (NF_INET_INGRESS).
const inetIngress = 5

// Ingress returns the chains of the machine at the hook ingress.
func Ingress(port int) ([]IngressChain, error) {
	conn, err := nft()
	if err != nil {
		return nil, err
	}
	var found []IngressChain
	for _, family := range []struct {
		of   nftables.TableFamily
		name string
		hook nftables.ChainHook
	}{{nftables.TableFamilyNetdev, "netdev", *nftables.ChainHookIngress}, {nftables.TableFamilyINet, "inet", inetIngress}} {
		chains, err := conn.ListChainsOfTableFamily(family.of)
		if err != nil {
			return nil, fmt.Errorf("list chains of %s: %w", family.name, err)
		}
		for _, c := range chains {
			if c.Hooknum == nil || *c.Hooknum != family.hook {
				continue
			}
			rules, err := conn.GetRules(c.Table, c)
			if err != nil {
				return nil, fmt.Errorf("list the rules of %s %s: %w", c.Table.Name, c.Name, err)
			}
			policy := c.Policy != nil && *c.Policy == nftables.ChainPolicyDrop
			found = append(found, IngressChain{Name: family.name + " " + c.Table.Name + " " + c.Name, Drops: dropsUDP(rules, policy, port)})
		}
	}
	return found, nil
}

// dropsUDP reports whether rules, or else the policy after them, are known to drop UDP to a port.
func dropsUDP(rules []*nftables.Rule, policy bool, port int) bool {
	for _, r := range rules {
		verdict, fits, known := judgeUDP(r.Exprs, port)
		switch {
		case verdict == nil || known && !fits:
		case known:
			return verdict.Kind == expr.VerdictDrop
		case verdict.Kind != expr.VerdictDrop:
			return false // it may have let the packet through
		}
	}
	return policy
}

// judgeUDP returns the verdict of a rule, and whether UDP to a port fits it, if that is known.
func judgeUDP(rule []expr.Any, port int) (verdict *expr.Verdict, fits, known bool) {
	fits, known = true, true
	// has are the values that the packet may have in a register; none where that is not known.
	has := map[uint32][][]byte{}
	for _, e := range rule {
		switch e := e.(type) {
		case *expr.Meta:
			has[e.Register] = metaOfUDP(e.Key)
		case *expr.Payload:
			has[e.DestRegister] = payloadOfUDP(e, port)
		case *expr.Cmp:
			values := has[e.Register]
			is := slices.ContainsFunc(values, func(v []byte) bool { return compares(v, e.Data, e.Op) })
			known = known && len(values) > 0
			fits = fits && (is || len(values) == 0)
		case *expr.Counter, *expr.Log:
		case *expr.Verdict:
			verdict = e
		default: // it may write a register, too
			clear(has)
			known = false
		}
	}
	return verdict, fits, known || !fits
}

// metaOfUDP returns the values that UDP over IPv4 or IPv6 may have.
func metaOfUDP(key expr.MetaKey) [][]byte {
	switch key {
	case expr.MetaKeyL4PROTO:
		return [][]byte{{unix.IPPROTO_UDP}}
	case expr.MetaKeyPROTOCOL:
		return [][]byte{binary.BigEndian.AppendUint16(nil, unix.ETH_P_IP), binary.BigEndian.AppendUint16(nil, unix.ETH_P_IPV6)}
	default:
		return nil
	}
}

// payloadOfUDP returns what UDP to a port has at a place of the packet.
func payloadOfUDP(p *expr.Payload, port int) [][]byte {
	const portOffset, ipv4Protocol, ipv6Next = 2, 9, 6
	switch at := p.Offset; {
	case p.Base == expr.PayloadBaseTransportHeader && at == portOffset && p.Len == 2:
		return [][]byte{binary.BigEndian.AppendUint16(nil, uint16(port))}
	case p.Base == expr.PayloadBaseNetworkHeader && (at == ipv4Protocol || at == ipv6Next) && p.Len == 1:
		return [][]byte{{unix.IPPROTO_UDP}}
	default:
		return nil
	}
}

func compares(value, with []byte, op expr.CmpOp) bool {
	c := bytes.Compare(value, with)
	switch op {
	case expr.CmpOpEq:
		return c == 0
	case expr.CmpOpNeq:
		return c != 0
	case expr.CmpOpLt:
		return c < 0
	case expr.CmpOpLte:
		return c <= 0
	case expr.CmpOpGt:
		return c > 0
	default:
		return c >= 0
	}
}
