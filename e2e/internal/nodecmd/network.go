package nodecmd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	vnetlink "github.com/vishvananda/netlink"
	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"github.com/spanmesh/span/e2e/lab"
)

// filterInput adds a rule for incoming packets to a table of the test.
func filterInput(table string, exprs ...expr.Any) error {
	conn, err := nftables.New()
	if err != nil {
		return err
	}
	t := conn.AddTable(&nftables.Table{Name: table, Family: nftables.TableFamilyINet})
	chain := conn.AddChain(&nftables.Chain{Table: t, Name: "in", Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityRaw})
	conn.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: exprs})
	return conn.Flush()
}

// RenamedLink is a name that tests give a machine's link to the lab's network.
const RenamedLink = "wan0"

// LabLink returns the link of a machine to the lab's network, also where it has the name RenamedLink.
func LabLink(h *vnetlink.Handle) (vnetlink.Link, error) {
	link, err := h.LinkByName(lab.Link)
	if errors.As(err, &vnetlink.LinkNotFoundError{}) {
		return h.LinkByName(RenamedLink)
	}
	return link, err
}

// setHostname sets the host name to args[0].
func setHostname(args []string) error { return unix.Sethostname([]byte(args[0])) }

// lose drops args[0] of a hundred packets that come in from the lab's network.
func lose(args []string) error {
	percent, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	link, err := LabLink(&vnetlink.Handle{})
	if err != nil {
		return err
	}
	name := make([]byte, 16)
	copy(name, link.Attrs().Name)
	return filterInput("loss",
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: name},
		&expr.Numgen{Register: 1, Modulus: 100, Type: unix.NFT_NG_RANDOM},
		// Numbers are compared as bytes, most significant first.
		&expr.Byteorder{SourceRegister: 1, DestRegister: 1, Op: expr.ByteorderHton, Len: 4, Size: 4},
		&expr.Cmp{Op: expr.CmpOpLt, Register: 1, Data: binary.BigEndian.AppendUint32(nil, uint32(percent))},
		&expr.Verdict{Kind: expr.VerdictDrop})
}

// TunnelTable is the table of dropIntoMesh.
const TunnelTable = "drop-into-mesh"

// dropIntoMesh drops what the machine sends over the mesh's link.
func dropIntoMesh([]string) error {
	conn, err := nftables.New()
	if err != nil {
		return err
	}
	name := make([]byte, 16)
	copy(name, MeshLink)
	t := conn.AddTable(&nftables.Table{Name: TunnelTable, Family: nftables.TableFamilyINet})
	chain := conn.AddChain(&nftables.Chain{Table: t, Name: "out", Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityFilter})
	conn.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: []expr.Any{
		&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: name},
		&expr.Verdict{Kind: expr.VerdictDrop}}})
	return conn.Flush()
}

// dropUDP drops UDP packets to the address args[0].
func dropUDP(args []string) error {
	address, err := netip.ParseAddr(args[0])
	if err != nil {
		return err
	}
	return filterInput("drop-udp",
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.NFPROTO_IPV4}},
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_UDP}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 4}, // RFC 791, section 3.1
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: address.AsSlice()},
		&expr.Verdict{Kind: expr.VerdictDrop})
}

// deadLink makes a link with the addresses args, at which the machine answers no UDP.
func deadLink(args []string) error {
	link := &vnetlink.Veth{LinkAttrs: vnetlink.LinkAttrs{Name: "dead0"}, PeerName: "dead1"}
	if err := vnetlink.LinkAdd(link); err != nil {
		return err
	}
	for _, a := range args {
		parsed, err := vnetlink.ParseAddr(a + "/32")
		if err != nil {
			return err
		}
		if err := errors.Join(dropUDP([]string{a}), vnetlink.AddrAdd(link, parsed)); err != nil {
			return err
		}
	}
	return vnetlink.LinkSetUp(link)
}

// partition drops packets to and from the address args[0] until SIGTERM.
func partition(args []string) error {
	address, err := netip.ParseAddr(args[0])
	if err != nil {
		return err
	}
	conn, err := nftables.New()
	if err != nil {
		return err
	}
	table := conn.AddTable(&nftables.Table{Name: "partition", Family: nftables.TableFamilyIPv4})
	for name, hook := range map[string]*nftables.ChainHook{"in": nftables.ChainHookPrerouting, "out": nftables.ChainHookPostrouting} {
		offset := uint32(12) // RFC 791, section 3.1: the source, then the destination
		if name == "out" {
			offset = 16
		}
		chain := conn.AddChain(&nftables.Chain{Table: table, Name: name, Type: nftables.ChainTypeFilter, Hooknum: hook,
			Priority: nftables.ChainPriorityRef(-250)})
		conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 4},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: address.AsSlice()},
			&expr.Verdict{Kind: expr.VerdictDrop},
		}})
	}
	if err := conn.Flush(); err != nil {
		return err
	}
	if err := AwaitSignal(); err != nil {
		return err
	}
	conn.DelTable(table)
	return conn.Flush()
}

// forward forwards the UDP port args[1] to the address args[0].
func forward(args []string) error {
	address, err := netip.ParseAddr(args[0])
	if err != nil {
		return err
	}
	port, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	conn, err := nftables.New()
	if err != nil {
		return err
	}
	udpTo := []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_UDP}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(uint16(port))},
	}
	table := &nftables.Table{Name: "nat", Family: nftables.TableFamilyIPv4}
	pre := conn.AddChain(&nftables.Chain{Table: table, Name: "pre", Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityNATDest})
	conn.AddRule(&nftables.Rule{Table: table, Chain: pre, Exprs: append(udpTo[:len(udpTo):len(udpTo)],
		&expr.Immediate{Register: 1, Data: address.AsSlice()},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1})})
	// Before the rule that drops unsolicited packets.
	conn.InsertRule(&nftables.Rule{Table: table, Chain: &nftables.Chain{Table: table, Name: "forward"},
		Exprs: append(udpTo[:len(udpTo):len(udpTo)], &expr.Verdict{Kind: expr.VerdictAccept})})
	return conn.Flush()
}

func statistics() (*vnetlink.LinkStatistics, error) {
	link, err := vnetlink.LinkByName(MeshLink)
	if err != nil {
		return nil, err
	}
	return link.Attrs().Statistics, nil
}

// received prints how many packets came out of the tunnel.
func received([]string) error {
	s, err := statistics()
	if err == nil {
		fmt.Println(s.RxPackets)
	}
	return err
}

// sent prints how many packets went into the tunnel.
func sent([]string) error {
	s, err := statistics()
	if err == nil {
		fmt.Println(s.TxPackets)
	}
	return err
}

// viaLink returns a route to the address args[0] over the link args[1].
func viaLink(args []string) (*vnetlink.Route, error) {
	address, err := netip.ParseAddr(args[0])
	if err != nil {
		return nil, err
	}
	link, err := vnetlink.LinkByName(args[1])
	if err != nil {
		return nil, err
	}
	return &vnetlink.Route{LinkIndex: link.Attrs().Index, Dst: vnetlink.NewIPNet(address.AsSlice())}, nil
}

func route(args []string) error {
	r, err := viaLink(args)
	if err != nil {
		return err
	}
	return vnetlink.RouteAdd(r)
}

// defaultRoute makes a default route to the gateway args[0].
func defaultRoute(args []string) error {
	gateway, err := netip.ParseAddr(args[0])
	if err != nil {
		return err
	}
	return vnetlink.RouteAdd(&vnetlink.Route{Gw: gateway.AsSlice()})
}

func unroute(args []string) error {
	r, err := viaLink(args)
	if err != nil {
		return err
	}
	return vnetlink.RouteDel(r)
}

// deleteLink deletes the mesh's link.
func deleteLink([]string) error {
	link, err := vnetlink.LinkByName(MeshLink)
	if err != nil {
		return err
	}
	return vnetlink.LinkDel(link)
}

// bridge makes a link that leads nowhere, with the addresses.
func bridge(name string, address ...string) error {
	link := &vnetlink.Bridge{LinkAttrs: vnetlink.LinkAttrs{Name: name}}
	if err := vnetlink.LinkAdd(link); err != nil {
		return err
	}
	for _, a := range address {
		parsed, err := vnetlink.ParseAddr(a)
		if err != nil {
			return err
		}
		if err := vnetlink.AddrAdd(link, parsed); err != nil {
			return err
		}
	}
	return vnetlink.LinkSetUp(link)
}

// inner makes a network inside of the machine with the address args[0].
func inner(args []string) error { return bridge("inner0", args[0]) }

// onLoopback gives the loopback link the address args[0], which the machine answers and does
// not announce.
func onLoopback(args []string) error {
	link, err := vnetlink.LinkByName("lo")
	if err != nil {
		return err
	}
	address, err := vnetlink.ParseAddr(args[0])
	if err != nil {
		return err
	}
	return vnetlink.AddrAdd(link, address)
}

func occupyTable(args []string) error {
	table, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	return vnetlink.RouteAdd(&vnetlink.Route{LinkIndex: 1, Table: table, Protocol: unix.RTPROT_STATIC,
		Dst: &net.IPNet{IP: net.IPv4(203, 0, 113, 0), Mask: net.CIDRMask(24, 32)}})
}

func freeTable(args []string) error {
	table, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	routes, err := vnetlink.RouteListFiltered(unix.AF_INET, &vnetlink.Route{Table: table}, vnetlink.RT_FILTER_TABLE)
	for _, r := range routes {
		err = errors.Join(err, vnetlink.RouteDel(&r))
	}
	return err
}

func priority(args []string) (*vnetlink.Rule, error) {
	number, err := strconv.Atoi(args[0])
	rule := vnetlink.NewRule()
	rule.Family, rule.Priority, rule.Table, rule.Mark = unix.AF_INET, number, 77, 0x1
	return rule, err
}

func occupyPriority(args []string) error {
	rule, err := priority(args)
	if err != nil {
		return err
	}
	return vnetlink.RuleAdd(rule)
}

func freePriority(args []string) error {
	rule, err := priority(args)
	if err != nil {
		return err
	}
	return vnetlink.RuleDel(rule)
}

func occupyName(args []string) error { return bridge(args[0]) }

func freeName(args []string) error {
	link, err := vnetlink.LinkByName(args[0])
	if err != nil {
		return err
	}
	return vnetlink.LinkDel(link)
}

// killWireguard kills the WireGuard processes of this network namespace.
func killWireguard([]string) error {
	processes, err := wireguardProcesses()
	if err == nil && len(processes) == 0 {
		err = errors.New("there is no WireGuard process")
	}
	for _, path := range processes {
		pid, convErr := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		err = errors.Join(err, convErr, unix.Kill(pid, unix.SIGKILL))
	}
	return err
}

// unprivileged runs the program args without the right to configure the network.
func unprivileged(args []string) error { return without(unix.CAP_NET_ADMIN, args) }

// withoutRaw runs the program args without the right to open raw sockets.
func withoutRaw(args []string) error { return without(unix.CAP_NET_RAW, args) }

// without runs the program args without a capability.
func without(capability uintptr, args []string) error {
	// exec(2) keeps the capabilities of the calling thread.
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_CAPBSET_DROP, capability, 0, 0, 0); err != nil {
		return fmt.Errorf("drop capability %d: %w", capability, err)
	}
	return syscall.Exec(args[0], args, os.Environ())
}

// setClock sets the clock forward by args[0].
func setClock(args []string) error {
	by, err := time.ParseDuration(args[0])
	if err != nil {
		return err
	}
	now := unix.NsecToTimeval(time.Now().Add(by).UnixNano())
	return unix.Settimeofday(&now)
}

// pingUnbroken sends echo requests of args[1] bytes, headers included, to args[0] until one
// is answered. Nobody on the path may fragment them.
func pingUnbroken(args []string) error {
	to, err := netip.ParseAddr(args[0])
	if err != nil {
		return err
	}
	size, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	echo := echoIPv4
	if to.Is6() {
		echo = echoIPv6
	}
	conn, err := echo.listenUnbroken()
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	const icmpHeader = 8
	message := icmp.Message{Type: echo.request, Body: &icmp.Echo{ID: os.Getpid() & 0xffff, Data: make([]byte, size-echo.ipHeader-icmpHeader)}}
	packet, err := message.Marshal(nil)
	if err != nil {
		return err
	}
	for { // the test ends this process when it has waited enough
		if _, err := conn.WriteTo(packet, &net.IPAddr{IP: to.AsSlice()}); err != nil {
			return err
		}
		if err := conn.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			return err
		}
		if echo.answered(conn, size-echo.ipHeader) {
			return nil
		}
	}
}

// echo has the constants of ICMP echo for one IP version.
type echo struct {
	network         string
	level, discover int
	ipHeader        int
	request, reply  icmp.Type
}

var (
	echoIPv4 = echo{"ip4:icmp", unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, 20, ipv4.ICMPTypeEcho, ipv4.ICMPTypeEchoReply}
	echoIPv6 = echo{"ip6:ipv6-icmp", unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, 40, ipv6.ICMPTypeEchoRequest, ipv6.ICMPTypeEchoReply}
)

// listenUnbroken opens a socket whose packets may not be fragmented.
func (e echo) listenUnbroken() (net.PacketConn, error) {
	conn, err := net.ListenPacket(e.network, "")
	if err != nil {
		return nil, err
	}
	raw, err := conn.(*net.IPConn).SyscallConn()
	if err == nil {
		var failed error
		err = raw.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), e.level, e.discover, unix.IP_PMTUDISC_DO) })
		err = errors.Join(err, failed)
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// answered reports whether a reply of size bytes comes before the read deadline.
func (e echo) answered(conn net.PacketConn, size int) bool {
	// Of IPv4, the kernel passes the IP header as well, which ReadFrom removes.
	buffer := make([]byte, e.ipHeader+size+1)
	for {
		n, _, err := conn.ReadFrom(buffer)
		if err != nil {
			return false
		}
		got, err := icmp.ParseMessage(e.request.Protocol(), buffer[:n])
		if err == nil && got.Type == e.reply && n == size {
			return true
		}
	}
}
