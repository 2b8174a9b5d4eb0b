package nodecmd

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// echoRequests matches ICMPv6 echo requests.
func echoRequests() []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.NFPROTO_IPV6}},
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_ICMPV6}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Len: 1}, // RFC 4443, section 4.1
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{byte(ipv6.ICMPTypeEchoRequest)}},
	}
}

// EchoTable is the table of dropEchoes.
const EchoTable = "drop-echoes"

// dropEchoes drops the ICMPv6 echo requests that come out of the tunnel, as a firewall may.
func dropEchoes([]string) error {
	name := make([]byte, 16)
	copy(name, MeshLink)
	onLink := []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: name},
	}
	return filterInput(EchoTable, append(append(onLink, echoRequests()...), &expr.Verdict{Kind: expr.VerdictDrop})...)
}

// agentEcho is the size of the agent's echoes behind the IPv6 header, in bytes. Those of the
// lab's pings are smaller.
const agentEcho = 16

// countEchoes counts the echo requests that the agent sends, and prints their number on
// SIGTERM.
func countEchoes([]string) error {
	conn, err := nftables.New()
	if err != nil {
		return err
	}
	table := conn.AddTable(&nftables.Table{Name: "count-echoes", Family: nftables.TableFamilyINet})
	chain := conn.AddChain(&nftables.Chain{Table: table, Name: "out", Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityRaw})
	conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: append(echoRequests(),
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 4, Len: 2}, // RFC 8200, section 3
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binary.BigEndian.AppendUint16(nil, agentEcho)},
		&expr.Counter{})})
	if err := errors.Join(conn.Flush(), AwaitSignal()); err != nil {
		return err
	}
	rules, err := conn.GetRules(table, chain)
	if err != nil {
		return err
	}
	for _, rule := range rules {
		for _, e := range rule.Exprs {
			if counter, is := e.(*expr.Counter); is {
				fmt.Println(counter.Packets)
			}
		}
	}
	return nil
}
